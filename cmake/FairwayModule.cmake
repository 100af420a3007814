# fw_module(NAME SOURCES a.c b.c [DEPENDS module ...] [LIBS target ...])
#
# One call a module. It makes
#   fairway_NAME_objects   the compiled objects, shared by the library and the unit tests
#   fairway_NAME           lib/libfairway-NAME.so, alias fairway::NAME
# Public headers are <module>/include/fairway/*.h. A private header is included by its path below
# its module's folder ("base/list.h") and may be used by the modules that depend on it.
# LIBS are other people's libraries; no public header of ours includes one of theirs.
function(fw_module name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPENDS;LIBS" ${ARGN})
  set(objects fairway_${name}_objects)
  set(lib fairway_${name})
  add_library(${objects} OBJECT ${arg_SOURCES})
  target_include_directories(${objects} PUBLIC
    ${CMAKE_CURRENT_SOURCE_DIR}/include ${CMAKE_CURRENT_SOURCE_DIR})
  target_link_libraries(${objects} PRIVATE ${arg_LIBS} Threads::Threads fairway_flags)

  add_library(${lib} SHARED $<TARGET_OBJECTS:${objects}>)
  add_library(fairway::${name} ALIAS ${lib})
  set_target_properties(${lib} PROPERTIES
    OUTPUT_NAME fairway-${name} EXPORT_NAME ${name} LINKER_LANGUAGE C INSTALL_RPATH "$ORIGIN"
    VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
  target_include_directories(${lib} PUBLIC
    $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/include>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_link_libraries(${lib} PRIVATE ${arg_LIBS} Threads::Threads $<BUILD_INTERFACE:fairway_flags>)
  foreach(dep ${arg_DEPENDS})
    target_include_directories(${objects} PUBLIC
      $<TARGET_PROPERTY:fairway_${dep}_objects,INTERFACE_INCLUDE_DIRECTORIES>)
    target_link_libraries(${lib} PUBLIC fairway_${dep})
  endforeach()

  set_property(GLOBAL APPEND PROPERTY FAIRWAY_MODULES ${name})
  set_property(GLOBAL APPEND PROPERTY FAIRWAY_TEST_LIBS ${arg_LIBS})
endfunction()

# fw_loadable(NAME SOURCES a.c ... [DEPENDS module ...] [LIBS target ...]): a part with heavy
# dependencies, lib/fairway/NAME.so, that is loaded when it is first used (see kvstore/module.h).
# Target: fairway_NAME.
function(fw_loadable name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPENDS;LIBS" ${ARGN})
  set(loadable fairway_${name})
  add_library(${loadable} MODULE ${arg_SOURCES})
  target_include_directories(${loadable} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  foreach(dep ${arg_DEPENDS})
    target_include_directories(${loadable} PRIVATE
      $<TARGET_PROPERTY:fairway_${dep}_objects,INTERFACE_INCLUDE_DIRECTORIES>)
    target_link_libraries(${loadable} PRIVATE fairway_${dep})
  endforeach()
  target_link_libraries(${loadable} PRIVATE
    ${arg_LIBS} PkgConfig::UV Threads::Threads fairway_flags)
  set_target_properties(${loadable} PROPERTIES
    OUTPUT_NAME ${name} PREFIX "" SUFFIX .so
    LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib/fairway
    INSTALL_RPATH "$ORIGIN/..")
  install(TARGETS ${loadable} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/fairway)
endfunction()
