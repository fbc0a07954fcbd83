#!/usr/bin/env bash
# What does it cost a compiler to prove a pipeline schedule?
#
#   benchmarks/schedule_proof.sh [--turns N] [COMPILER ...]
#
#   --turns N  how often each is compiled; the fastest counts (3)
#   --help     this text
#
# Prints, for each compiler (g++, clang++-14), kind and size, the number of actions and the seconds
# of processor time that the proof adds to a file that names the schedule. The exit status is 1 if
# a proof adds more than 1 ms an action and 0.2 s, or does not fit in the limits of the compiler.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
turns=3 compilers=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --help | -h) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    --turns) [[ $# -ge 2 ]] || { echo "$1 needs a value" >&2; exit 2; }; turns=$2; shift ;;
    -*) echo "schedule_proof.sh: unknown argument $1; see --help" >&2; exit 2 ;;
    *) compilers+=("$1") ;;
  esac
  shift
done
[[ ${#compilers[@]} -gt 0 ]] || compilers=(g++ clang++-14)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat > "$work/proof.cpp" << 'PROGRAM'
#include <nxd/pipeline/kinds.hpp>
#ifdef KIND
nxd::StaticSchedule<nxd::KIND, RANKS, MICROBATCHES, CHUNKS> schedule;
#endif
PROGRAM

# The fewest seconds of processor time of compiling with the given flags.
seconds() {
  local best=
  for ((turn = 0; turn < turns; ++turn)); do
    local TIMEFORMAT=%U now
    now=$({ time "$@" -std=c++20 -fsyntax-only -I "$root/include" "$work/proof.cpp" \
                 2> "$work/errors"; } 2>&1) || return 1
    best=$(awk -v a="$now" -v b="${best:-$now}" 'BEGIN { print a < b ? a : b }')
  done
  echo "$best"
}

failed=0
for compiler in "${compilers[@]}"; do
  flags=()
  [[ $compiler == *clang* ]] && flags=(-fconstexpr-steps=16777216)
  bare=$(seconds "$compiler" "${flags[@]}")
  while read -r kind ranks microbatches chunks passes; do
    actions=$((ranks * microbatches * chunks * passes))
    name="$compiler $kind p=$ranks m=$microbatches v=$chunks"
    if ! full=$(seconds "$compiler" "${flags[@]}" -D "KIND=$kind" -D "RANKS=$ranks" \
                        -D "MICROBATCHES=$microbatches" -D "CHUNKS=$chunks"); then
      echo "$name: does not compile"; head -3 "$work/errors"; failed=1
      continue
    fi
    awk -v name="$name" -v n="$actions" -v s="$full" -v b="$bare" 'BEGIN {
      printf "%-48s %5d actions  %5.2f s  %5.2f ms an action\n", name, n, s - b, 1000 * (s - b) / n
      exit s - b > 0.001 * n + 0.2 }' || failed=1
  done << 'SIZES'
OneFOneB 4 8 1 2
Interleaved 4 8 2 2
ZbV 4 8 2 3
OneFOneB 8 32 1 2
Interleaved 8 32 4 2
ZbV 8 32 2 3
ZbH1 16 128 1 3
SIZES
done
exit $failed
