#!/usr/bin/env bash
# Runs one fuzz target: from its own seeds and words, in a folder of its own that goes at the end.
#
#   run.sh PROGRAM
#
# NXD_FULL=1: 10 million inputs instead of 200000, or five minutes, whichever is first. The seed is
# printed, and NXD_SEED takes it back. An input that ends the target badly is printed in base64, and
# kept in $NXD_BINARY_DIR. What was found worth keeping goes to $NXD_FUZZ_KEEP, if that is set.
set -euo pipefail
program=$1
name=$(basename "$program")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/corpus"
NXD_FUZZ_START=$folder "$program"

runs=200000 seconds=120
if [[ ${NXD_FULL:-} == 1 ]]; then runs=10000000 seconds=300; fi
seed=${NXD_SEED:-$((RANDOM * 32768 + RANDOM + 1))}
echo "$name: seed $seed (NXD_SEED=$seed repeats it), $runs inputs or $seconds s"
export ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1
"$program" "$folder/corpus" -dict="$folder/words" -seed="$seed" -runs="$runs" \
  -max_total_time="$seconds" -max_len=4096 -timeout=5 -rss_limit_mb=512 -print_final_stats=1 \
  -artifact_prefix="${NXD_BINARY_DIR:-$folder}/$name-" > "$folder/log" 2>&1 ||
  { tail -60 "$folder/log"; exit 1; }
grep -E '^stat::(number_of_executed|average_exec|peak_rss)|cov:' "$folder/log" | tail -4
if [[ -n ${NXD_FUZZ_KEEP:-} ]]; then cp "$folder/corpus"/* "$NXD_FUZZ_KEEP"; fi
