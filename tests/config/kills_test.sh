#!/usr/bin/env bash
# Real ranks that are killed with -9: at each call to the system by which a save or a load changes or reads
# the folder of checkpoints (in full runs at every one, else at some); by the death of mpirun; and at random
# steps of a run that then goes on with another number of ranks. It never goes back behind what it has told
# to be saved, and ends where one ends that was left alone.
source "$(dirname "${BASH_SOURCE[0]}")/runs.sh"
seed=${NXD_SEED:-$$}
RANDOM=$seed
each=exp_manager.checkpoint_callback_params.every_n_train_steps=1
few=exp_manager.checkpoint_callback_params.save_top_k=2
newest_of() { sed -nE 's,^saved .*/step-0*([0-9]+)\.g.*,\1,p' "$1" | tail -1; }
resumed_at() { sed -nE 's/.*resumed from .* at step ([0-9]+).*/\1/p' "$1"; }
told=0
# judge LOG: a run has gone on from what was told to be saved before, or from something newer
judge() {
  local at; at=$(resumed_at "$1")
  [[ ${at:-$told} -ge $told ]] || { fail "a run goes on from step $at, but step $told was saved (seed $seed)"; show "$1"; }
  at=$(newest_of "$1"); [[ -z $at ]] || told=$at
}

# ---- at every call -------------------------------------------------------------------------------

killed() { "$mpirun" 2 "$faulty" run.yaml name=killed $each $few trainer.max_steps=$((told + ${1:-1})) > log 2>&1; }
killed 2 || die "a run does not end"
judge log
for rank in 0 1; do
  rm -f calls
  NXD_CALL=count:$rank:0 killed || die "a run does not go on"
  judge log
  count=$(wc -l < calls)
  [[ $count -gt 15 ]] || die "rank $rank makes only $count calls"
  cp calls "calls-$rank"
  for ((n = 1; n <= count; ++n)); do
    [[ -n ${NXD_FULL:-} || $((RANDOM % count)) -lt 3 ]] || continue
    rm -f struck runs/killed/checkpoints/.attempt-*
    NXD_CALL=kill:$rank:$n killed && [[ -e struck ]] && fail "a job whose rank was killed ends with status 0"
    visited=$((${visited:-0} + 1))
    [[ -e struck ]] || fail "call $n of rank $rank is not visited (seed $seed)"
    judge log
    [[ -z $(find runs/killed/checkpoints -maxdepth 1 -name '.bad-*') ]] || die "call $n of rank $rank has left a broken checkpoint"
  done
done
rm -f runs/killed/checkpoints/.attempt-*
killed 2 || { fail "a killed run does not go on"; show log; }
judge log
"$mpirun" 2 "$program" train run.yaml name=alone trainer.max_steps="$told" > log 2>&1 || die "a run does not end"
"$program" checkpoint diff runs/killed runs/alone > log 2>&1 || { fail "a run that was killed ends elsewhere (seed $seed)"; show log; }
[[ -e failures ]] || echo "killed at $visited calls: the same bits after $told steps"

# ---- mpirun --------------------------------------------------------------------------------------

left=0
told=0
for ((trial = 0; trial < ${NXD_FULL:+18} + 2; ++trial)); do
  after=$((told + 1 + RANDOM % 4)) start 2 orphans "$program" $each $few
  folder=$(tr '\0' '\n' < "/proc/${ranks[0]}/environ" | sed -n 's/^OMPI_MCA_btl_vader_backing_directory=//p')
  kill -KILL "$launcher"
  for ((i = 0; i < 300; ++i)); do
    left=0; for pid in "${ranks[@]}"; do [[ ! -d /proc/$pid ]] || left=$((left + 1)); done
    [[ $left -gt 0 ]] || break
    sleep 0.01
  done
  [[ $left -eq 0 ]] || fail "$left ranks live on 3 s after their mpirun was killed"
  wait "$job"
  judge log-orphans
  [[ ! -e $folder ]] || fail "$folder stays"
  for pid in "${ranks[@]}" "$launcher"; do
    [[ -z $(find /dev/shm "${TMPDIR:-/tmp}" -maxdepth 2 -name "*[.-]$pid*" 2> /dev/null) ]] || fail "files of process $pid stay"
  done
done
[[ -e failures ]] || echo "mpirun killed $trial times: $told steps"

# ---- another number of ranks each time -----------------------------------------------------------

if [[ -n ${NXD_FULL:-} ]]; then
  steps=200
  "$mpirun" 2 "$program" train run.yaml name=steady $no_saves trainer.max_steps=$steps > log 2>&1 || die "a run does not end"
  told=0
  for ((trial = 0; trial < 20; ++trial)); do
    ranks_now=$((1 << RANDOM % 3))
    after=$((told + 1 + RANDOM % 7)) start $ranks_now elastic "$program" $each $few
    kill -KILL "${ranks[RANDOM % ranks_now]}"
    wait "$job" && fail "a job whose rank was killed ends with status 0"
    judge log-elastic
  done
  echo "20 kills on 1, 2 or 4 ranks, at step $told (seed $seed)"
  "$mpirun" 4 "$program" train run.yaml name=elastic trainer.max_steps=$steps > log 2>&1 || { fail "a killed run does not go on"; show log; }
  [[ $(losses elastic | wc -l) -eq $steps ]] || fail "steps are told twice, or not at all"
  awk 'NR == FNR { loss[$1] = $2; next } { off = $2 - loss[$1]; if (off < 0) off = -off; if (off > 2e-6 * $2) exit 1 }' \
    <(losses steady) <(losses elastic) || fail "on other ranks a run has other losses (seed $seed)"
fi

passed
