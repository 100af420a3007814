# Flags shared by every target of ours, as one interface library.
add_library(fairway_flags INTERFACE)
target_compile_options(fairway_flags INTERFACE
  -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wconversion -Wno-sign-conversion
  -Wpointer-arith -Wvla -Wundef -Wwrite-strings
  $<$<BOOL:${FW_WERROR}>:-Werror>)
target_compile_definitions(fairway_flags INTERFACE _GNU_SOURCE)
if(FW_SANITIZE)
  target_compile_options(fairway_flags INTERFACE
    -fsanitize=${FW_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all -O1)
  target_link_options(fairway_flags INTERFACE -fsanitize=${FW_SANITIZE})
  string(TOUPPER "${FW_SANITIZE}" _san)
  if(_san MATCHES "ADDRESS")
    target_compile_definitions(fairway_flags INTERFACE FWI_ASAN=1)
  endif()
endif()
if(FW_FUZZ)
  if(NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "FW_FUZZ needs clang (cmake --preset fuzz)")
  endif()
  target_compile_options(fairway_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
