# What `cmake --install` puts down for authors of plugins (component sdk): headers, the package
# files of CMake and pkg-config, the template, and the page about it.
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/hone)
set(pkgconfig_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
set(HONE_PLUGIN_DIR ${CMAKE_INSTALL_LIBDIR}/hone)
file(RELATIVE_PATH HONE_PREFIX_FROM_PC /${pkgconfig_dir} /)
string(REGEX REPLACE "/$" "" HONE_PREFIX_FROM_PC "${HONE_PREFIX_FROM_PC}")

install(DIRECTORY sdk/include/hone DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT sdk)
install(TARGETS hone_sdk EXPORT hone-targets COMPONENT sdk)
install(EXPORT hone-targets NAMESPACE hone:: DESTINATION ${package_dir} COMPONENT sdk)

# They belong to an installation: with a build folder in CMAKE_PREFIX_PATH, find_package looks in
# its root, and files there that are not installed would be found, fail, and be remembered.
set(package_build ${CMAKE_BINARY_DIR}/to-install)
file(REMOVE ${CMAKE_BINARY_DIR}/hone-config.cmake ${CMAKE_BINARY_DIR}/hone-config-version.cmake)
configure_package_config_file(sdk/cmake/hone-config.cmake.in ${package_build}/hone-config.cmake
  INSTALL_DESTINATION ${package_dir} PATH_VARS HONE_PLUGIN_DIR)
# While the border is 0.x another minor version is another border.
write_basic_package_version_file(${package_build}/hone-config-version.cmake
  COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
configure_file(sdk/cmake/hone.pc.in ${package_build}/hone.pc @ONLY)
install(FILES ${package_build}/hone-config.cmake ${package_build}/hone-config-version.cmake
  sdk/cmake/HoneAddPlugin.cmake DESTINATION ${package_dir} COMPONENT sdk)
install(FILES ${package_build}/hone.pc DESTINATION ${pkgconfig_dir} COMPONENT sdk)

install(DIRECTORY sdk/template DESTINATION ${CMAKE_INSTALL_DATADIR}/hone COMPONENT sdk
  PATTERN build EXCLUDE PATTERN "*.so" EXCLUDE)
install(FILES sdk/README.md DESTINATION ${CMAKE_INSTALL_DOCDIR} RENAME plugins.md COMPONENT sdk)
