#!/usr/bin/env bash
# A rank that does something else than its peers, or nothing, ends the job: soon, with the exit code for
# it and with its name, before anything is updated; one that does as it should never does.
set -uo pipefail
program=${NXD_LOST:-${NXD_BINARY_DIR:?}/tests/test.lost} mpirun=${NXD_MPIRUN:?names mpirun.sh}
work=$(mktemp -d) || exit 74
trap 'rm -rf "$work"' EXIT
trap 'exit 1' TERM INT HUP
cd "$work" || exit 74
limit=1

# lost CODES KIND RANK LINE [ALONE]: one of the exit codes; the line that tells it accuses RANK first, and
# no other if ALONE is given
lost() {
  local codes=$1 kind=$2 rank=$3 line=$4 alone=${5:-} folder status begin took
  folder=$kind-$rank-$line; mkdir -p "$folder"; cd "$folder" || return
  begin=${EPOCHREALTIME/[.,]/}
  NXD_MPI_TIMEOUT=20 "$mpirun" 4 "$program" "$kind" "$rank" "$line" $limit > log 2>&1; status=$?
  took=$(( (${EPOCHREALTIME/[.,]/} - begin) / 1000 ))
  local why=""
  [[ " $codes " == *" $status "* ]] || why="exit code $status, not $codes"
  [[ $took -lt $(( limit * 1000 + 2000 + 1000 )) ]] || why="takes $took ms"  # of which some start the job
  ! grep -q "updated step 1[0-5]" log || why="a step is updated after ranks have parted"
  local told; told=$(grep -a "^nxd:" log | grep -avE "was told to end$|is gone; " | head -1)
  # Who is accused comes first; what is known of the others comes after.
  case $alone in
    alone) grep -qE "(: |s: )rank $rank (does not do|is at|is stopped)" <<< "$told" || why="rank $rank is not accused" ;;
    *) grep -qE "(do not do the same|wait for each other).*rank $rank " <<< "$told" || why="rank $rank is not named" ;;
  esac
  [[ -z $why ]] || { echo "FAILED: $kind of rank $rank on $line: $why"; sed 's/^/  | /;20q' log; touch "$work/failures"; }
}
# beside COMMAND...: two jobs at a time
beside() {
  while [[ $(jobs -rp | wc -l) -ge 2 ]]; do wait -n; done
  "$@" &
}
for rank in 0 3; do
  for kind in skip count; do beside lost "71 72" $kind $rank all alone; done
  beside lost 72 stop $rank row alone
done
for kind in type operation; do beside lost 71 $kind 2 all alone; done
for kind in root extra +skip +extra +count +type; do beside lost "71 72" $kind 2 all alone; done
for kind in sleep spin; do beside lost 72 $kind 1 row alone; done
for line in row column; do
  for kind in skip extra count type operation; do beside lost "71 72" $kind 1 $line; done
done
beside lost 72 message 2 row
wait

# What is right is not complained of, though it is slow: ten times, at a limit that is near.
for ((i = 0; i < 3; ++i)); do
  "$mpirun" 4 "$program" none 0 row 2 > log 2>&1 || { echo "FAILED: a job without fault ends"; sed 's/^/  | /' log; touch failures; }
  "$mpirun" 2 "$program" +none 0 row 2 > log 2>&1 || { echo "FAILED: a checked job without fault ends"; sed 's/^/  | /' log; touch failures; }
done
[[ ! -e $work/failures ]]
