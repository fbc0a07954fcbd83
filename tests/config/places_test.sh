#!/usr/bin/env bash
# A rank that ends, in whatever way and wherever it is: the job ends soon, with a code that is not 0 and
# with the rank's name. A run that is asked to end, wherever it is: it saves, and goes on from there bit
# for bit. In full runs each way meets each place; else each of both comes once.
source "$(dirname "${BASH_SOURCE[0]}")/runs.sh"
sed -i "s/rank_heartbeat_timeout: 2/rank_heartbeat_timeout: 30/" run.yaml  # nobody hangs here
beside() { while [[ $(jobs -rp | wc -l) -ge 2 ]]; do wait -n; done; "$@" & }
# alone NAME: a folder to run in, with what all have
alone() { mkdir "$1" && cd "$1" && ln -s ../text ../run.yaml . && cp -r ../runs . ; }

trains=("$faulty")
"$mpirun" 2 "${trains[@]}" run.yaml name=base trainer.max_steps=3 > log 2>&1 || die "a run does not end"

# ---- a rank that ends ----------------------------------------------------------------------------

ways=(throw memory abort kill crash exit leave quit)
places=("the start" "the load" F I "the loss" "the optimizer" "the validation" "the save")
codes() { case $1 in throw | memory) echo 70 ;; abort) echo 9 ;; kill) echo 137 ;; crash) echo 139 ;; exit) echo 3 ;; *) echo 1 ;; esac; }
words() {
  local at="nxd: rank 1 at (step [0-9]+, )?$2.*: "
  case $1 in
    throw) echo "$at.*a fault that was asked for" ;;
    memory) echo "$at.*out of memory" ;;
    # Open MPI tells this one, and now and then fails to: its daemon's message comes to mpirun torn.
    abort) echo "(MPI_ABORT was invoked on rank 1 |nxd: rank 0 .*was told to end|ORTE_ERROR_LOG: .*show_help)" ;;
    crash) echo "$at.*SIGSEGV" ;;
    exit | leave) echo "$at.*called exit" ;;
    *) echo "nxd: .*rank 1 is gone; it was at (step [0-9]+, )?$2" ;;
  esac
}
ends() {
  local way=$1 place=$2 status took why="" keys=("${pp2[@]}") name="$1 ${2#the }"
  alone "$name" || return
  case $place in
    "the start") keys+=(name=new) ;;
    "the load") keys=(name=base) ;;
    "the validation") keys+=(name=new trainer.val_check_interval=3) ;;
    "the save") keys+=(name=new exp_manager.checkpoint_callback_params.every_n_train_steps=3) ;;
    *) keys+=(name=new $no_saves) ;;
  esac
  local from=3; [[ $place != "the start" && $place != "the load" ]] || from=-1
  NXD_FAULT="$way:1:$from:$place" "$mpirun" 2 "$faulty" run.yaml "${keys[@]}" > log 2>&1; status=$?
  took=$(( ${EPOCHREALTIME/[.,]/} / 1000 - $(date -r struck +%s%3N 2> /dev/null || echo 0) ))
  [[ $status -eq $(codes "$way") ]] || why="exit code $status, not $(codes "$way")"
  [[ $took -le 3000 ]] || why="takes $took ms"
  grep -aqE "$(words "$way" "$place")" log || why="no line has '$(words "$way" "$place")'"
  [[ -z $why ]] || { fail "$name: $why"; show log; }
  echo "$took" >> ../times
}
for ((i = 0; i < 8; ++i)); do
  for ((j = 0; j < 8; ++j)); do
    [[ $i -ne $j && -z ${NXD_FULL:-} ]] || beside ends "${ways[i]}" "${places[j]}"
  done
done
wait
[[ -e failures ]] || echo "$(wc -l < times) faults: each job ended within $(sort -n times | tail -1) ms"

# ---- a run that is asked to end ------------------------------------------------------------------

run_whole
# A rank waits for a second where it is; meanwhile somebody is told to end, once more right after.
asked() {
  local who=$1 place=$2 from=4 keys=() job target status; local name="$1 ${2#the }"
  alone "$name" || return
  case $place in
    "the start") from=-1 ;;
    "the load") from=-1; cp -r runs/base runs/asked ;;
    "the validation") keys=(trainer.val_check_interval=4) ;;
    "the save") keys=(exp_manager.checkpoint_callback_params.every_n_train_steps=4) ;;
  esac
  local start=("$mpirun"); [[ $who != launcher ]] || start=("$launch")
  NXD_MPIRUN=$mpirun NXD_FAULT="wait:1:$from:$place" "${start[@]}" 2 "$faulty" run.yaml name=asked "${keys[@]}" > log 2>&1 &
  job=$!
  for ((i = 0; i < 500; ++i)); do [[ ! -e struck ]] || break; sleep 0.02; done
  target=$(children "$job" | head -1)  # mpirun
  case $who in
    launcher) kill -TERM "$job"; sleep 0.1; kill -TERM "$job" ;;
    mpirun) kill -USR1 "$target"; sleep 0.1; kill -USR1 "$target" ;;
    rank) target=$(children "$target" | tail -1); kill -TERM "$target"; sleep 0.1; kill -TERM "$target" ;;
  esac
  wait "$job"; status=$?
  [[ $status -eq 75 ]] || { fail "$name: exit code $status, not 75"; show log; }
  if [[ $place == "the start" ]]; then
    grep -q "^nxd: .*SIG.* came before the first step; start the run again" log || { fail "$name: it is not told when it ends"; show log; }
  else
    grep -q "^nxd: asked to end, after step [1-5] of" log || { fail "$name: it is not told when it ends"; show log; }
    goes_on asked
  fi
  echo "$name" >> ../asked
}
senders=(launcher mpirun rank)
settings=("the start" "the load" "the optimizer" "the validation" "the save")
for ((i = 0; i < 3; ++i)); do
  for ((j = 0; j < 5; ++j)); do
    [[ $((j % 3)) -ne $i && -z ${NXD_FULL:-} ]] || beside asked "${senders[i]}" "${settings[j]}"
  done
done
wait
[[ -e failures ]] || echo "$(wc -l < asked) requests to end: saved, and gone on from there"

passed
