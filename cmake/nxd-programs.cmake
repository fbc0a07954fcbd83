# The project's own programs: the training program, examples, benchmarks, tests.

# The instruction set of these programs; the library's targets leave it to their user. `native`
# is not recommended: such a program may die on another machine of the same job.
set(nxd_default_arch baseline)
if(EXISTS /proc/cpuinfo)
  file(READ /proc/cpuinfo cpu LIMIT 16384)
  if(cpu MATCHES " fma " AND cpu MATCHES " avx2 " AND cpu MATCHES " bmi2 ")
    set(nxd_default_arch x86-64-v3)
  endif()
endif()
set(NXD_ARCH ${nxd_default_arch} CACHE STRING
    "Instruction set of the programs: baseline, x86-64-v3, x86-64-v4, or another value of -march")
if(NOT NXD_ARCH STREQUAL baseline)
  add_compile_options(-march=${NXD_ARCH})
  if(NXD_ARCH MATCHES "native|v4" AND CMAKE_CXX_COMPILER_ID STREQUAL GNU)
    add_compile_options(-Wno-maybe-uninitialized)  # g++ 12 warns inside its own AVX-512 headers
  endif()
endif()

set(nxd_warnings -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion)
if(NOT openmp IN_LIST nxd_enabled)
  list(APPEND nxd_warnings -Wno-unknown-pragmas)
endif()
add_compile_options(${nxd_warnings})

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release)
endif()

# A file of examples/ or benchmarks/, or a folder with all its files, is a program of that name in
# bin/.
function(nxd_add_program name)
  add_executable(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE nxd::nxd)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
endfunction()

# The training program can do without threads inside a rank, without oneDNN and without S3.
list(REMOVE_ITEM nxd_switched_off openmp onednn s3)
list(JOIN nxd_switched_off ", " nxd_absent)
file(GLOB nxd_files CONFIGURE_DEPENDS examples/nxd/*.cpp)
if(nxd_absent)
  message(STATUS "The program nxd is not built: these are off: ${nxd_absent}")
else()
  nxd_add_program(nxd ${nxd_files})
  # Its units have more than half of their code in common. Where there are not cores for all of them at a
  # time, one compiler takes three of them, and is done sooner.
  cmake_host_system_information(RESULT cores QUERY NUMBER_OF_LOGICAL_CORES)
  if(cores LESS 4)
    set_target_properties(nxd PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 3)
  endif()
endif()
file(GLOB examples CONFIGURE_DEPENDS examples/*.cpp)
foreach(file IN LISTS examples)
  cmake_path(GET file STEM name)
  nxd_add_program(${name} ${file})
endforeach()
# A program of its own about oneDNN has it where it is found, even if the component is off.
nxd_find(onednn nxd_onednn_missing)
if(nxd_onednn_missing)
  message(STATUS "There is no benchmark and no test of oneDNN: ${nxd_onednn_missing}")
endif()
function(nxd_use_onednn target)
  target_link_libraries(${target} PRIVATE ${nxd_onednn_links})
  target_compile_definitions(${target} PRIVATE ${nxd_onednn_definitions})
endfunction()

# The target `benchmarks` builds them all; NXD_BUILD_BENCHMARKS has `all` build them too.
add_custom_target(benchmarks)
file(GLOB benchmarks CONFIGURE_DEPENDS benchmarks/*.cpp)
if(nxd_onednn_missing)
  list(FILTER benchmarks EXCLUDE REGEX "/onednn\\.cpp$")
endif()
foreach(file IN LISTS benchmarks)
  cmake_path(GET file STEM name)
  nxd_add_program(${name} ${file})
  add_dependencies(benchmarks ${name})
  if(NOT NXD_BUILD_BENCHMARKS)
    set_target_properties(${name} PROPERTIES EXCLUDE_FROM_ALL ON)
  endif()
  if(name STREQUAL onednn)
    nxd_use_onednn(onednn)
  endif()
endforeach()

if(NXD_BUILD_TESTS)
  enable_testing()
  add_subdirectory(tests)
endif()
