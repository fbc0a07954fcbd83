#!/usr/bin/env bash
# Runs a program on N ranks of this machine, for tests: more ranks than cores are fine, and nothing stays
# behind, whatever happens to the ranks.
#
#   tests/mpirun.sh N PROGRAM [ARG ...]
set -u
[[ $# -ge 2 ]] || { sed -n '2,5p' "$0"; exit 2; }
ranks=$1; shift
session=$(mktemp -d "${TMPDIR:-/tmp}/nxd-mpi.XXXXXX")
trap 'rm -rf "$session"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_orte_tmpdir_base=$session OMPI_MCA_btl_vader_backing_directory=$session
export OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_btl=self,vader,tcp
export OMP_NUM_THREADS=${NXD_TEST_THREADS:-1}
launcher=$(command -v mpirun.openmpi || command -v mpirun)
"$launcher" --bind-to none --oversubscribe --timeout "${NXD_TEST_TIMEOUT:-240}" -np "$ranks" "$@"
