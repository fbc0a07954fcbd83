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

newest_there() { find "runs/$1/checkpoints" -maxdepth 1 -name 'step-*' 2> /dev/null | sed -E 's,.*/step-0*([0-9]+)\..*,\1,' | sort -n | tail -1; }
# killed [STEPS]: the run goes on for so many steps, or 1
killed() {
  local newest; newest=$(newest_there killed)
  "$mpirun" 2 "$faulty" run.yaml name=killed $each $few trainer.max_steps=$((${newest:-0} + ${1:-1})) > log 2>&1
}
# named FILE: calls without the numbers that are others in each save
named() { sed -E 's/[0-9a-f]{12,}/N/g;s/\.g[0-9]+//g' "$1" | sort -u; }
killed 3 || die "a run does not end"
judge log
for rank in 0 1; do
  rm -f calls visited; : > visited
  NXD_CALL=count:$rank:0 killed || die "a run does not go on"
  judge log
  count=$(wc -l < calls)
  [[ $count -gt 5 ]] || die "rank $rank makes only $count calls"
  for ((n = 1; n <= count; ++n)); do
    [[ -n ${NXD_FULL:-} || $((RANDOM % count)) -lt 3 ]] || continue
    rm -f struck runs/killed/checkpoints/.attempt-*
    NXD_CALL=kill:$rank:$n killed && [[ -e struck ]] && fail "a job whose rank was killed ends with status 0"
    judge log
    [[ -z $(find runs/killed/checkpoints -maxdepth 1 -name '.bad-*') ]] || die "call $n of rank $rank has left a broken checkpoint"
    [[ ! -e struck ]] || { cat struck >> visited; calls_killed=$((${calls_killed:-0} + 1)); }
  done
  [[ -s visited || -z ${NXD_FULL:-} ]] || fail "no call of rank $rank is visited"
  [[ -z ${NXD_FULL:-} ]] || comm -23 <(named calls) <(named visited) > log
  [[ -z ${NXD_FULL:-} || ! -s log ]] || { fail "not every call of rank $rank is visited"; show log; }
done
rm -f runs/killed/checkpoints/.attempt-*
killed 2 || { fail "a killed run does not go on"; show log; }
judge log
"$mpirun" 2 "$program" train run.yaml name=alone trainer.max_steps="$told" > log 2>&1 || die "a run does not end"
"$program" checkpoint diff runs/killed runs/alone > log 2>&1 || { fail "a run that was killed ends elsewhere (seed $seed)"; show log; }
[[ -e failures ]] || echo "killed at ${calls_killed:-0} calls: the same bits after $told steps"

# start_and_save RANKS NAME: a run that has saved since it was started, and is then at some point of a step
start_and_save() {
  after=-1 may_end=yes start "$1" "$2" "$program" $each $few
  for ((i = 0; i < 3000; ++i)); do
    ! grep -q "^saved " "log-$2" || break
    kill -0 "$job" 2> /dev/null || break
    sleep 0.02
  done
  sleep "0.$(printf %03d $((RANDOM % 100)))"
  launcher=$(children "$job" | head -1)
  mapfile -t ranks < <(children "$launcher")
  [[ ${#ranks[@]} -eq $1 ]] || { cp "log-$2" log; die "$2 has not started, or is over too soon"; }
}

# ---- mpirun --------------------------------------------------------------------------------------

left=0
told=0
for ((trial = 0; trial < ${NXD_FULL:+18} + 2; ++trial)); do
  start_and_save 2 orphans
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
    start_and_save $ranks_now elastic
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
