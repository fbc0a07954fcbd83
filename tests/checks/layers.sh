#!/usr/bin/env bash
# What holds for every header of the library:
# - it includes only its own layer or a lower one, and by the full name <nxd/...>;
# - only a border header includes another package, and each package has its border;
# - a header of a layer that needs the standard library alone reaches no border header;
# - Boost archives are read in the comm layer alone: elsewhere bytes come from files (nor are they in
#   examples and benchmarks);
# - #pragma once, one SPDX line, one macro in all, no `using namespace` at the
#   level of a file, at most 400 lines.
#
#   layers.sh PROJECT_DIRECTORY
set -eu
cd "$1/include"
if grep -rnE '[a-z]_[io]archive' ../examples ../benchmarks; then
  echo "a Boost archive outside comm"; exit 1
fi
find nxd -name '*.hpp' | LC_ALL=C sort | xargs awk '
BEGIN {
  layer_count = split("core dist comm tensor autodiff nn pipeline optim data checkpoint train plan models config", names, " ")
  for (i = 1; i <= layer_count; ++i) level[names[i]] = i

  # Which headers may include which package.
  border["boost/"] = border["mpi.h"] = "^nxd/comm/mpi(_types)?\\.hpp$"
  border["xtensor/"] = "^nxd/tensor/xtensor\\.hpp$"
  border["xsimd/"] = border["cblas.h"] = "^nxd/tensor/(xtensor|kernels/simd[a-z0-9_]*)\\.hpp$"
  border["dnnl.h"] = "^nxd/tensor/kernels/onednn_matmul\\.hpp$"
  border["yaml-cpp/"] = "^nxd/config/yaml\\.hpp$"
  border["CLI/"] = "^nxd/config/command(s/[a-z_]+)?\\.hpp$"
  border["curl/"] = "^nxd/checkpoint/s3/http\\.hpp$"
  border["openssl/"] = "^nxd/checkpoint/s3/hash\\.hpp$"
  border["nlohmann/"] = "^nxd/checkpoint/json\\.hpp$"
  border["xxh"] = "^nxd/checkpoint/xxh128\\.hpp$"

  # Layers that need the standard library alone.
  split("core dist autodiff nn pipeline", light_names, " ")
  for (i in light_names) light[light_names[i]] = 1

  # Headers of the operating system and of the compiler.
  system_header = "^(sys/[a-z]+|unistd|fcntl|dirent|glob|signal|poll|pthread|sched|[a-z]*mmintrin|omp|cpuid)\\.h$"
}

function complain(text) { print "include/" text; failed = 1 }

function finish_file() {
  if (file == "") return
  if (lines > 400) complain(file ": " lines " lines; a header has at most 400")
  if (!pragma) complain(file ": no #pragma once")
  if (licences != 1) complain(file ": " licences " SPDX lines instead of one")
}

FNR == 1 {
  finish_file()
  file = FILENAME; pragma = licences = 0
  split(file, path, "/"); layer = path[2]
  if (!(layer in level)) complain(file ": layer " layer " is not in the order of layers")
  files[++file_count] = file
  layer_of[file] = layer
}
{ lines = FNR }
/^#pragma once/ { pragma = 1 }
/SPDX-License-Identifier:/ { ++licences }
/^using namespace/ { complain(file ":" FNR ": using namespace in a header") }
/^# *define / && $2 !~ /^NXD_EXPECTS/ { complain(file ":" FNR ": macro " $2) }
/[a-z]_[io]archive/ && layer != "comm" { complain(file ":" FNR ": a Boost archive outside comm") }

/^# *include/ {
  included = $0
  sub(/^# *include *[<"]/, "", included); sub(/[>"].*/, "", included)
  if ($0 ~ /^# *include *"/) complain(file ":" FNR ": include <nxd/...> by its full name, not \"" included "\"")
  if (included ~ /^nxd\//) {
    split(included, to, "/")
    if (level[to[2]] > level[layer])
      complain(file ":" FNR ": layer " layer " includes upwards: <" included ">")
    edges[file] = edges[file] " " included
    next
  }
  if (included ~ system_header || included ~ /^[a-z_0-9]+$/) next
  known = 0
  for (package in border)
    if (index(included, package) == 1) {
      known = 1; heavy[file] = included
      if (file !~ border[package])
        complain(file ":" FNR ": <" included "> belongs to a border header (" border[package] ")")
    }
  if (!known) complain(file ":" FNR ": <" included "> is of a package that has no border header")
}

# The chain of includes from a header to a package, or "".
function road(from,    list, n, i, rest) {
  if (from in heavy) return from " -> <" heavy[from] ">"
  if (from in visited) return ""
  visited[from] = 1
  n = split(edges[from], list, " ")
  for (i = 1; i <= n; ++i) {
    rest = road(list[i])
    if (rest != "") return from " -> " rest
  }
  return ""
}

END {
  finish_file()
  for (i = 1; i <= file_count; ++i)
    if (layer_of[files[i]] in light) {
      split("", visited)
      chain = road(files[i])
      if (chain != "") complain(files[i] ": needs more than the standard library: " chain)
    }
  print file_count " headers"
  exit failed
}'
