#!/usr/bin/env bash
# Starts a run so that a scheduler can stop it: launch.sh RANKS nxd train CONFIG.yaml [KEY=VALUE ...]
#
# At SIGTERM or SIGINT mpirun leaves its ranks a second or two, and forgets their exit code. This script
# sends them SIGUSR1 instead: they save, and end with 75. It waits for that, and hands the code on.
# Under Slurm:
#
#   #SBATCH --signal=B:TERM@120 --requeue      # two minutes before the end, to this script
#   examples/launch.sh "$SLURM_NTASKS" nxd train CONFIG.yaml exp_manager.resume_if_exists=true
#   [[ $? -ne 75 ]] || scontrol requeue "$SLURM_JOB_ID"
#
# Where srun starts the ranks, it hands signals on by itself: `srun --signal=USR1@120 nxd train ...`.
# The messages' files in /dev/shm and mpirun's own are in folders that go with this script.
# NXD_MPIRUN, if set, is called as `$NXD_MPIRUN RANKS COMMAND...` instead of mpirun.
# NXD_MAX_RESTARTS=N: a run that ends by a crash, a hang, or ranks that disagree is started again, N times
# at most, and goes on from its newest checkpoint that is whole.
# left_alone.sh belongs beside it.
set -u
source "$(dirname "${BASH_SOURCE[0]}")/left_alone.sh"
[[ $# -ge 2 ]] || { echo "usage: launch.sh RANKS COMMAND [ARGUMENT...]" >&2; exit 64; }
ranks=$1; shift
folder=$(mktemp -d "${TMPDIR:-/tmp}/nxd-launch.XXXXXX") || exit 74
shared=$folder
[[ ! -w /dev/shm ]] || shared=$(mktemp -d /dev/shm/nxd-launch.XXXXXX) || exit 74
trap 'rm -rf "$folder" "$shared"' EXIT
export OMPI_MCA_orte_tmpdir_base=$folder OMPI_MCA_btl_vader_backing_directory=$shared

# The process that is mpirun: the job itself, or one that it has started.
launcher() {
  cat /proc/[0-9]*/status 2> /dev/null | awk -v of="$job" '
    /^Name:/ { name = $2 } /^Pid:/ { pid = $2 }
    /^PPid:/ && $2 == of && name ~ /^(mpirun|orterun)/ { below = pid }
    END { print below ? below : of }'
}

job= asked=
trap 'asked=yes; [[ -z $job ]] || kill -USR1 "$(launcher)" 2> /dev/null' TERM INT USR1

for ((start = 0; ; ++start)); do
  if [[ -n ${NXD_MPIRUN:-} ]]; then "$NXD_MPIRUN" "$ranks" "$@" & else mpirun -np "$ranks" "$@" & fi
  job=$!
  [[ -n ${NXD_MPIRUN:-} ]] || (end_if_left_alone "$job" > /dev/null 2>&1 &)
  wait "$job"; status=$?
  # A signal ends the wait, not the job.
  while kill -0 "$job" 2> /dev/null; do wait "$job"; status=$?; done
  [[ -z $asked && $start -lt ${NXD_MAX_RESTARTS:-0} ]] || break
  case $status in 0 | 64 | 65 | 73 | 74 | 75) break ;; esac
  echo "launch.sh: the run ended with $status; start $((start + 1)) of $NXD_MAX_RESTARTS that are left to it" >&2
done
exit "$status"
