# Every option of the build, in one place.
option(FW_BUILD_CMD "Build the fairway program and the examples" ON)
option(FW_BUILD_TESTS "Build the tests" ${PROJECT_IS_TOP_LEVEL})
option(FW_BUILD_BENCH "Build the benchmarks" ${PROJECT_IS_TOP_LEVEL})
option(FW_KV_LMDB "Build the embedded store (liblmdb)" ON)
option(FW_KV_ETCD "Build the etcd driver module (libgrpc, libprotobuf-c)" ON)
option(FW_WERROR "Treat warnings as errors" OFF)
set(FW_SANITIZE "" CACHE STRING "Sanitizers: 'address,undefined' or 'thread'")
