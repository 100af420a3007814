# Installation, the CMake package (fairway::net ... fairway::fairway) and the pkg-config file.
include(CMakePackageConfigHelpers)
get_property(_modules GLOBAL PROPERTY FAIRWAY_MODULES)

add_library(fairway INTERFACE)
add_library(fairway::fairway ALIAS fairway)
set(_targets fairway)
set(FAIRWAY_PC_LIBS "")
foreach(module ${_modules})
  target_link_libraries(fairway INTERFACE fairway_${module})
  list(APPEND _targets fairway_${module})
  string(PREPEND FAIRWAY_PC_LIBS "-lfairway-${module} ")
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/${module}/include/fairway
    DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
endforeach()
install(TARGETS ${_targets} EXPORT fairway-targets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(EXPORT fairway-targets NAMESPACE fairway:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/fairway)

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/fairway-config.cmake.in
  ${PROJECT_BINARY_DIR}/fairway-config.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/fairway)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/fairway-config-version.cmake
  COMPATIBILITY SameMinorVersion)
# Relative, so that the installation can be moved.
file(RELATIVE_PATH FAIRWAY_PC_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(${PROJECT_SOURCE_DIR}/cmake/fairway.pc.in ${PROJECT_BINARY_DIR}/fairway.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/fairway-config.cmake
  ${PROJECT_BINARY_DIR}/fairway-config-version.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/fairway)
install(FILES ${PROJECT_BINARY_DIR}/fairway.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
