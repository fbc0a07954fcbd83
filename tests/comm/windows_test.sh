#!/usr/bin/env bash
# Ranks that are killed in the middle of an exchange leave no shared memory behind, and one that is
# killed does not leave the others waiting.
set -u
session=$(mktemp -d "${TMPDIR:-/tmp}/nxd-windows.XXXXXX") || exit 74
trap 'rm -rf "$session"' EXIT
mkdir "$session/shm" "$session/mpi"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1
export OMPI_MCA_orte_tmpdir_base=$session OMPI_MCA_btl_vader_backing_directory=$session/mpi
export OMPI_MCA_osc_sm_backing_directory=$session/shm
mpirun=$(command -v mpirun.openmpi || command -v mpirun) || exit 77
fail() { echo "windows_test.sh: $*" >&2; exit 1; }

# alive PROCESS: and not only waiting to be forgotten
alive() { grep -qs '^State:.[^ZX]' "/proc/$1/status"; }

# kill_ranks HOW_MANY: starts a job of two, waits until both have a window, and kills so many.
kill_ranks() {
  "$mpirun" -np 2 --bind-to none --oversubscribe --mca mpi_yield_when_idle 1 --timeout 60 \
    "$NXD_BINARY_DIR/tests/test.comm.windows_mpi" -tc="ranks exchange until they are killed" \
    --no-skip > "$session/log" 2>&1 &
  local job=$! ranks=() deadline=$((SECONDS + 40))
  while :; do
    read -ra ranks < "/proc/$job/task/$job/children"
    if [[ ${#ranks[@]} -eq 2 ]] && grep -q 'osc_sm.*(deleted)' "/proc/${ranks[0]}/maps" &&
       grep -q 'osc_sm.*(deleted)' "/proc/${ranks[1]}/maps" &&
       grep -q 'memfd:nxd' "/proc/${ranks[1]}/maps"; then break; fi 2> /dev/null
    [[ $SECONDS -lt $deadline ]] || { kill -TERM "$job"; cat "$session/log"; fail "no window"; }
    sleep 0.05
  done
  kill -KILL "${ranks[@]:0:$1}"
  wait "$job" && fail "a job whose ranks were killed says that all is well"
  for rank in "${ranks[@]}"; do
    for _ in {1..100}; do alive "$rank" || break; sleep 0.05; done
    ! alive "$rank" || fail "rank $rank is still there"
  done
  [[ -z $(ls -A "$session/shm") ]] || fail "left behind: $(ls -A "$session/shm")"
}

kill_ranks 2
kill_ranks 1
