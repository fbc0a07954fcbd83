# Install rules, find_package(nxd), pkg-config, and the Debian package.

include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(nxd_cmake_dir ${CMAKE_INSTALL_DATADIR}/cmake/nxd)

install(DIRECTORY include/nxd TYPE INCLUDE FILES_MATCHING PATTERN "*.hpp")

# One export set for each component: a consumer loads those it asks for.
foreach(component IN LISTS nxd_enabled)
  set_target_properties(nxd_${component} PROPERTIES EXPORT_NAME ${component})
  install(TARGETS nxd_${component} EXPORT nxd-${component})
  install(EXPORT nxd-${component} NAMESPACE nxd:: DESTINATION ${nxd_cmake_dir})
endforeach()

configure_package_config_file(cmake/nxdConfig.cmake.in nxdConfig.cmake
                              INSTALL_DESTINATION ${nxd_cmake_dir})
write_basic_package_version_file(nxdConfigVersion.cmake COMPATIBILITY SameMinorVersion
                                 ARCH_INDEPENDENT)
install(FILES ${PROJECT_BINARY_DIR}/nxdConfig.cmake ${PROJECT_BINARY_DIR}/nxdConfigVersion.cmake
              cmake/nxd-dependencies.cmake
        DESTINATION ${nxd_cmake_dir})

# pkg-config serves the headers that need no package; the components are for find_package.
configure_file(cmake/nxd.pc.in nxd.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/nxd.pc DESTINATION ${CMAKE_INSTALL_DATADIR}/pkgconfig)

if(PROJECT_IS_TOP_LEVEL)
  set(packages "")
  foreach(component IN LISTS nxd_enabled)
    list(APPEND packages ${nxd_${component}_packages})
  endforeach()
  list(JOIN packages ", " CPACK_DEBIAN_PACKAGE_DEPENDS)

  set(CPACK_GENERATOR DEB)
  set(CPACK_PACKAGE_NAME libnxd-dev)
  set(CPACK_PACKAGE_CONTACT "The nxd developers <nxd@localhost>")
  set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
  set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
  set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE all)
  set(CPACK_DEBIAN_PACKAGE_SECTION libdevel)
  include(CPack)
endif()
