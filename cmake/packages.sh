# shellcheck shell=bash
# To be read by other scripts: what the project needs from Debian, and how to get it.

# What builds and runs the training program.
packages_to_train=(g++ cmake ninja-build ccache
  libboost-mpi-dev libboost-serialization-dev libopenmpi-dev openmpi-bin
  libxtensor-dev libxsimd-dev libopenblas-openmp-dev libyaml-cpp-dev nlohmann-json3-dev libxxhash-dev
  libcli11-dev libcurl4-openssl-dev libssl-dev)

# What the tests need beyond that: the second compiler, the formatter, the test framework, oneDNN, two hosts on
# one machine, an S3 server that does harm, who else knows XXH3-128.
packages_to_test=(doctest-dev clang libclang-rt-dev clang-format-14 libomp-dev libdnnl-dev pkg-config iproute2
  python3 xxhash)

# What full runs need beyond that: OpenStack Swift, as a second S3 server.
packages_to_test_fully=(python3-swift swift swift-proxy swift-account swift-container swift-object memcached curl)

# A real S3 server for the tests, from npm: verifies signatures, runs on loopback.
s3_server=@20minutes/s3rver@4.0.4

# Foreign readers of safetensors files for full runs, from npm: one by the makers of the format, and one that
# gives the elements too.
safetensors_readers=(@huggingface/hub@2.17.5 @jax-js/loaders@0.1.1)

# install_packages NAME...: installs those that are missing. Needs root or sudo only if one is.
install_packages() {
  local name missing=()
  if ! command -v dpkg-query > /dev/null || ! command -v apt-get > /dev/null; then
    echo "No apt here. Taken as installed by you: $*"
    return 0
  fi
  for name in "$@"; do
    [[ $(dpkg-query -W -f '${Status}' "$name" 2> /dev/null) == *" installed" ]] || missing+=("$name")
  done
  [[ ${#missing[@]} -gt 0 ]] || return 0

  local as_root=()
  if [[ $(id -u) -ne 0 ]]; then
    if ! command -v sudo > /dev/null; then
      echo "These packages are missing, and there is no sudo to install them." \
           "As root, run: apt-get install ${missing[*]}" >&2
      return 1
    fi
    as_root=(sudo)
  fi
  echo "Installing ${missing[*]}"
  local log; log=$(mktemp)
  if ! { "${as_root[@]}" apt-get update &&
         "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
           apt-get install -y --no-install-recommends "${missing[@]}"; } > "$log" 2>&1; then
    tail -15 "$log" >&2
    echo "apt-get could not install ${missing[*]}; its whole output is in $log" >&2
    return 1
  fi
  rm -f "$log"
}

# install_from_npm FOLDER PACKAGE@VERSION...: puts packages of npm into FOLDER, unless they are there. Where that
# cannot be done, it says so, and the tests that need them are skipped.
install_from_npm() {
  local folder=$1 package absent=no; shift
  for package in "$@"; do [[ -d $folder/node_modules/${package%@*} ]] || absent=yes; done
  [[ $absent == yes ]] || return 0
  if ! command -v npm > /dev/null; then install_packages nodejs npm || return 0; fi
  mkdir -p "$folder"
  npm install --prefix "$folder" --no-audit --no-fund --no-save "$@" > "$folder/install.log" 2>&1 ||
    echo "npm could not install $*, so that tests which need that are skipped; its output is in $folder/install.log"
}

# configure PRESET BUILD_DIRECTORY ARGUMENT...: cmake with Ninja and ccache where they are, unless
# the build directory has been configured otherwise before.
configure() {
  local preset=$1 build=$2; shift 2
  local choices=()
  if [[ ! -e $build/CMakeCache.txt ]]; then
    if command -v ninja > /dev/null; then choices+=(-G Ninja); fi
    if command -v ccache > /dev/null; then choices+=(-D CMAKE_CXX_COMPILER_LAUNCHER=ccache); fi
  fi
  cmake --preset "$preset" -B "$build" "${choices[@]}" "$@"
}

# MPI that starts as root, on fewer cores than ranks, without pinning a rank to one core.
allow_mpi_anywhere() {
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  export OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_rmaps_base_oversubscribe=1
  export OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_btl_vader_single_copy_mechanism=none
}
