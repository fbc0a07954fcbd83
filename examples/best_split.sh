#!/usr/bin/env bash
# How many ranks of how many threads are best on this machine: best_split.sh CONFIG.yaml [KEY=VALUE ...]
#
# Measures the machine with each split of its cores, lets `nxd plan` look for the best layout of the run with
# so many ranks, and prints them all, the best as the command that starts it. Nothing is trained.
# NXD_PROGRAM is the program (nxd, of PATH or of build/release); NXD_CORES cores are split, if not all; for
# products in bf16 set NXD_PRECISION=mixed_precision. NXD_MPIRUN, if set, is called as `$NXD_MPIRUN RANKS
# COMMAND...` instead of mpirun.
set -uo pipefail
[[ $# -ge 1 ]] || { echo "usage: best_split.sh CONFIG.yaml [KEY=VALUE ...]" >&2; exit 64; }
program=${NXD_PROGRAM:-$(command -v nxd || echo "$(dirname "${BASH_SOURCE[0]}")/../build/release/bin/nxd")}
[[ -x $program ]] || { echo "best_split.sh: there is no nxd; build it, or name it by NXD_PROGRAM" >&2; exit 64; }
cores=${NXD_CORES:-$(nproc)}
[[ $cores =~ ^[1-9][0-9]*$ ]] || { echo "best_split.sh: NXD_CORES is $cores; it must be a number from 1" >&2; exit 64; }
work=$(mktemp -d) || exit 74
trap 'rm -rf "$work"' EXIT

# on RANKS THREADS COMMAND...: bound so that each thread has a core
on() {
  export OMP_NUM_THREADS=$2
  if [[ -n ${NXD_MPIRUN:-} ]]; then "$NXD_MPIRUN" "$1" "${@:3}"
  elif [[ $1 -eq 1 ]]; then "${@:3}"
  else mpirun -np "$1" --map-by "slot:PE=$2" "${@:3}"; fi
}

# What the program says of a wrong configuration comes before a minute of measurements.
"$program" plan "$@" --ranks "$cores" --search > "$work/found" 2> "$work/log" || { cat "$work/log" >&2; exit 64; }
echo "ranks x threads     s a step  the best layout"
for ((ranks = cores; ranks >= 1; --ranks)); do
  [[ $((cores % ranks)) -eq 0 ]] || continue
  threads=$((cores / ranks))
  on "$ranks" "$threads" "$program" plan --calibrate "$work/machine.json" \
     --precision "${NXD_PRECISION:-fp32}" > "$work/log" 2>&1 || { cat "$work/log" >&2; exit 70; }
  "$program" plan "$@" --ranks "$ranks" --search --machine "$work/machine.json" > "$work/found" 2> "$work/log" ||
    { cat "$work/log" >&2; exit 64; }
  layout=$(sed -n 's/^the fastest: //p' "$work/found")
  if [[ -z $layout ]]; then echo "$ranks x $threads: no layout fits"; continue; fi
  # The first row of the table; it ends with seconds, tokens/s and memory.
  seconds=$(awk '/tokens\/s/ { getline; print $(NF - 2); exit }' "$work/found")
  printf '%5d x %-7d  %10s  %s\n' "$ranks" "$threads" "$seconds" "$layout"
  echo "$seconds $ranks $threads $layout" >> "$work/all"
done
[[ -s $work/all ]] || exit 64
read -r _ ranks threads layout <<< "$(sort -g "$work/all" | head -1)"
start="mpirun -np $ranks --map-by slot:PE=$threads "
[[ $ranks -gt 1 ]] || start=
echo "OMP_NUM_THREADS=$threads ${start}nxd train $* $layout"
