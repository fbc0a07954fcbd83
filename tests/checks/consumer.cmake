# Installs the library into a folder of its own and builds two separate projects against it: one
# with every component, one where nothing but the standard library may be looked for.

set(installed ${WORK}/usr)
file(REMOVE_RECURSE ${WORK})

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE failed OUTPUT_VARIABLE out ERROR_VARIABLE out)
  if(failed)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "${command}\n${out}")
  endif()
  set(output "${out}" PARENT_SCOPE)
endfunction()

run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${installed})

set(core_arguments "")
foreach(package IN ITEMS MPI Boost OpenMP xtensor xsimd yaml-cpp nlohmann_json CLI11)
  list(APPEND core_arguments -D CMAKE_DISABLE_FIND_PACKAGE_${package}=ON)
endforeach()

foreach(project IN ITEMS core full)
  run(${CMAKE_COMMAND} -S ${SOURCE}/${project} -B ${WORK}/${project} -G ${GENERATOR}
      -D CMAKE_PREFIX_PATH=${installed} -D CMAKE_CXX_COMPILER=${CXX} -D CMAKE_CXX_FLAGS=${CXX_FLAGS}
      ${${project}_arguments})
  run(${CMAKE_COMMAND} --build ${WORK}/${project})
  run(${WORK}/${project}/consumer)
  message("${project}: ${output}")
endforeach()

# The program of the core reads no header of another package.
run(${CXX} -std=c++20 -M -I ${installed}/include ${SOURCE}/core/main.cpp)
if(output MATCHES "boost|openmpi|xtensor|xsimd|xtl|yaml-cpp|nlohmann|xxhash|cblas")
  message(FATAL_ERROR "nxd::core reads a header of another package (${CMAKE_MATCH_0}):\n${output}")
endif()

# pkg-config serves the same program.
find_program(pkg_config pkg-config)
if(pkg_config)
  set(ENV{PKG_CONFIG_PATH} ${installed}/share/pkgconfig)
  run(${pkg_config} --define-variable=prefix=${installed} --cflags --libs nxd)
  string(STRIP "${output}" flags)
  separate_arguments(flags UNIX_COMMAND "${flags}")
  run(${CXX} ${SOURCE}/core/main.cpp ${flags} -o ${WORK}/by_pkg_config)
  run(${WORK}/by_pkg_config)
endif()
