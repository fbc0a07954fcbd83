# What each component needs: read by the build here and by find_package(nxd) elsewhere.
#
#   nxd_components              in an order where a component comes after those it builds on
#   nxd_<component>_needs       components it cannot do without
#   nxd_<component>_wants       components it uses where they are enabled
#   nxd_<component>_links       targets of other packages
#   nxd_<component>_default     OFF where few need it; the others are built if they are found
#   nxd_find(COMPONENT MISSING) looks for these targets; sets MISSING to what is missing, or to ""

set(nxd_components mpi openmp blas onednn xtensor yaml json s3 cli)

set(nxd_mpi_purpose "Ranks over MPI")
set(nxd_mpi_links Boost::mpi Boost::serialization MPI::MPI_CXX)
set(nxd_mpi_packages libboost-mpi-dev libboost-serialization-dev libopenmpi-dev)

set(nxd_openmp_purpose "Threads inside a rank")
set(nxd_openmp_links OpenMP::OpenMP_CXX)
set(nxd_openmp_packages libgomp1)

set(nxd_blas_purpose "Matrix products by OpenBLAS")
set(nxd_blas_links nxd::openblas)
set(nxd_blas_packages libopenblas-openmp-dev)

set(nxd_onednn_purpose "Matrix products by oneDNN, beside those by OpenBLAS")
set(nxd_onednn_default OFF)
set(nxd_onednn_links nxd::dnnl)
set(nxd_onednn_definitions NXD_WITH_ONEDNN)
set(nxd_onednn_packages libdnnl-dev)

set(nxd_xtensor_purpose "Tensors of xtensor, kernels of xsimd")
set(nxd_xtensor_needs blas)
set(nxd_xtensor_wants openmp onednn)
set(nxd_xtensor_links xtensor xsimd)
set(nxd_xtensor_definitions XTENSOR_USE_XSIMD)
set(nxd_xtensor_packages libxtensor-dev libxsimd-dev)

set(nxd_yaml_purpose "Configuration files in YAML")
set(nxd_yaml_links yaml-cpp)
set(nxd_yaml_packages libyaml-cpp-dev)

set(nxd_json_purpose "Checkpoints: safetensors, manifests, Hugging Face configuration")
set(nxd_json_links nlohmann_json::nlohmann_json nxd::xxhash)
set(nxd_json_packages nlohmann-json3-dev libxxhash-dev)

set(nxd_s3_purpose "Checkpoints in S3 buckets")
set(nxd_s3_links CURL::libcurl OpenSSL::Crypto)
set(nxd_s3_definitions NXD_WITH_S3)
set(nxd_s3_packages libcurl4-openssl-dev libssl-dev)

set(nxd_cli_purpose "The command line of the program nxd")
set(nxd_cli_links CLI11::CLI11)
set(nxd_cli_packages libcli11-dev)

# OpenBLAS that shares its threads with OpenMP comes first: the distribution's default may be the
# build with threads of its own. It is linked by its full path, so that CMake writes its folder
# into the program's rpath and no other alternative is loaded in its place.
function(nxd_find_openblas)
  find_library(NXD_OPENBLAS_LIBRARY openblas PATH_SUFFIXES openblas-openmp)
  find_path(NXD_OPENBLAS_INCLUDE cblas.h PATH_SUFFIXES openblas-openmp openblas
            PATHS /usr/include/${CMAKE_LIBRARY_ARCHITECTURE})
  mark_as_advanced(NXD_OPENBLAS_LIBRARY NXD_OPENBLAS_INCLUDE)
  if(NXD_OPENBLAS_LIBRARY AND NXD_OPENBLAS_INCLUDE)
    add_library(nxd::openblas UNKNOWN IMPORTED)
    set_target_properties(nxd::openblas PROPERTIES
      IMPORTED_LOCATION "${NXD_OPENBLAS_LIBRARY}"
      INTERFACE_INCLUDE_DIRECTORIES "${NXD_OPENBLAS_INCLUDE}")
  endif()
endfunction()

# A library whose package for CMake is of no use: Debian's of oneDNN wants OpenCL, which nothing here calls,
# and xxHash has none. Makes the target nxd::LIBRARY.
function(nxd_find_library library header)
  string(TOUPPER NXD_${library} name)
  find_library(${name}_LIBRARY ${library})
  find_path(${name}_INCLUDE ${header})
  mark_as_advanced(${name}_LIBRARY ${name}_INCLUDE)
  if(${name}_LIBRARY AND ${name}_INCLUDE)
    add_library(nxd::${library} UNKNOWN IMPORTED)
    set_target_properties(nxd::${library} PROPERTIES
      IMPORTED_LOCATION "${${name}_LIBRARY}"
      INTERFACE_INCLUDE_DIRECTORIES "${${name}_INCLUDE}")
  endif()
endfunction()

function(nxd_find component missing)
  if(component STREQUAL mpi)
    find_package(MPI QUIET COMPONENTS CXX)
    find_package(Boost 1.74 QUIET COMPONENTS mpi serialization)
  elseif(component STREQUAL openmp)
    find_package(OpenMP QUIET COMPONENTS CXX)
  elseif(component STREQUAL blas AND NOT TARGET nxd::openblas)
    nxd_find_openblas()
  elseif(component STREQUAL onednn AND NOT TARGET nxd::dnnl)
    nxd_find_library(dnnl dnnl.h)
  elseif(component STREQUAL xtensor)
    find_package(xtensor 0.24 QUIET)
    find_package(xsimd 8.1 QUIET)
  elseif(component STREQUAL yaml)
    find_package(yaml-cpp 0.7 QUIET)
  elseif(component STREQUAL json)
    find_package(nlohmann_json 3.11 QUIET)
    if(NOT TARGET nxd::xxhash)
      nxd_find_library(xxhash xxhash.h)
    endif()
  elseif(component STREQUAL s3)
    find_package(CURL 7.85 QUIET)
    find_package(OpenSSL 3.0 QUIET COMPONENTS Crypto)
  elseif(component STREQUAL cli)
    find_package(CLI11 2.1 QUIET)
  endif()

  set(absent "")
  foreach(target IN LISTS nxd_${component}_links)
    if(NOT TARGET ${target})
      list(APPEND absent ${target})
    endif()
  endforeach()
  if(absent)
    list(JOIN absent " and " absent)
    list(JOIN nxd_${component}_packages " " packages)
    set(absent "${absent} not found (on Debian: apt install ${packages})")
  endif()
  set(${missing} "${absent}" PARENT_SCOPE)
endfunction()
