#!/usr/bin/env bash
# Runs a program under MPI as the tests do: mpirun.sh RANKS PROGRAM [ARGUMENT...]
# Works with more ranks than cores, as root, beside other jobs, and leaves nothing behind. A job that
# hangs is ended after NXD_MPI_TIMEOUT seconds (60); more options for mpirun may be in NXD_MPI_OPTIONS.
set -u
source "$(dirname "${BASH_SOURCE[0]}")/../examples/left_alone.sh"
[[ $# -ge 2 ]] || { echo "usage: mpirun.sh RANKS PROGRAM [ARGUMENT...]" >&2; exit 64; }
ranks=$1; shift

session=$(mktemp -d "${TMPDIR:-/tmp}/nxd-mpi.XXXXXX") || exit 74
trap 'rm -rf "$session"' EXIT
trap 'kill -TERM "$job" 2>/dev/null' TERM INT HUP
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_orte_tmpdir_base=$session
shared=$session
if [[ -d /dev/shm && -w /dev/shm ]]; then
  shared=$(mktemp -d /dev/shm/nxd-mpi.XXXXXX) || exit 74
  trap 'rm -rf "$session" "$shared"' EXIT
fi
export OMPI_MCA_btl_vader_backing_directory=$shared OMPI_MCA_osc_sm_backing_directory=$shared
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

mpirun=$(command -v mpirun.openmpi || command -v mpirun) ||
  { echo "mpirun.sh: there is no mpirun (on Debian: apt install openmpi-bin)" >&2; exit 69; }
# shellcheck disable=SC2086
"$mpirun" -np "$ranks" --bind-to none --oversubscribe --mca mpi_yield_when_idle 1 \
  --timeout "${NXD_MPI_TIMEOUT:-60}" ${NXD_MPI_OPTIONS:-} "$@" <&0 &
job=$!
(end_if_left_alone "$job" > /dev/null 2>&1 &)
wait "$job"; status=$?
# A signal ends the wait, not the job.
while kill -0 "$job" 2>/dev/null; do wait "$job"; status=$?; done
exit "$status"
