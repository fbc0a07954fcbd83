#!/usr/bin/env bash
# Which lines of each parser its fuzz target reaches: compiles the targets anew, lets each find its way
# (NXD_FUZZ_RUNS inputs, 60000), and prints, for each header, how many lines of the functions that are
# called are reached, and which are not; with fewer than 95 % it fails. Functions that no target calls
# (those that write, or open files) are told by the lines where they begin.
#
#   coverage.sh [PARSER...]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
version=$(clang++ -dumpversion | cut -d. -f1)

# The parsers that a target is for.
declare -A headers=(
  [safetensors]='checkpoint/safetensors checkpoint/names'
  [manifest]='checkpoint/manifest_text checkpoint/box'
  [json]='checkpoint/json checkpoint/json_reader models/llama_json config/llama_state plan/machine_text train/trace_text train/metrics'
  [idx]='data/indexed_dataset'
  [xml]='checkpoint/s3/xml'
  [yaml]='config/yaml config/node config/interpolate config/override'
  [config]='config/load config/read_value config/nearest config/number'
)
[[ $# -gt 0 ]] || set -- safetensors manifest json idx xml yaml config
few=''
for parser in "$@"; do
  program=$folder/$parser
  mkdir -p "$folder/corpus" && rm -f "$folder/corpus"/*
  clang++ -std=c++20 -O1 -I"$root/include" -fsanitize=fuzzer -fprofile-instr-generate -fcoverage-mapping \
    "$here/${parser}_fuzz.cpp" -lyaml-cpp -o "$program"
  LLVM_PROFILE_FILE=/dev/null NXD_FUZZ_START=$folder "$program"
  LLVM_PROFILE_FILE=/dev/null "$program" "$folder/corpus" -dict="$folder/words" -max_len=4096 \
    -runs="${NXD_FUZZ_RUNS:-60000}" -max_total_time=60 > "$folder/log" 2>&1 || { tail -5 "$folder/log"; exit 1; }
  LLVM_PROFILE_FILE=$folder/raw "$program" "$folder/corpus" -runs=0 > "$folder/log" 2>&1
  "llvm-profdata-$version" merge -sparse "$folder/raw" -o "$folder/profile"
  for header in ${headers[$parser]}; do
    file=$root/include/nxd/$header.hpp
    "llvm-cov-$version" export "$program" -instr-profile="$folder/profile" -format=lcov "$file" > "$folder/lines"
    awk -F'[:,]' -v name="$parser: nxd/$header.hpp" '
      /^FN:/ { begin[$3] = $2 }
      /^FNDA:/ { if ($2 > 0) called[begin[$3]] = 1; else idle[begin[$3]] = 1 }
      /^DA:/ { count[$2] = $3; lines[++n] = $2 }
      END {
        inside = 1
        for (i = 1; i <= n; ++i) {
          line = lines[i]
          if (line in called) inside = 1
          else if (line in idle) { inside = 0; others = others " " line }
          if (!inside) continue
          ++all
          if (count[line] > 0) ++hit; else missed = missed " " line
        }
        printf "%-44s %5.1f %% of %d lines", name, all ? 100 * hit / all : 0, all
        if (missed) printf "; not%s", missed
        if (others) printf "; functions that are not called begin at%s", others
        print ""
        exit all && hit < 0.95 * all
      }' "$folder/lines" || few=yes
  done
done
[[ -z $few ]] || { echo "some parser is reached by fewer than 95 % of its lines"; exit 1; }
