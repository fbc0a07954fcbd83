#!/usr/bin/env bash
# Real ranks that are killed with -9: at each call to the system by which a save or a load changes or reads
# the folder of checkpoints (in full runs at every one, else at some); by the death of mpirun; and at random
# steps of a run that then goes on with another number of ranks. It never goes back behind what it has told
# to be saved, and ends where one ends that was left alone.
source "$(dirname "${BASH_SOURCE[0]}")/runs.sh"
sed -i "s/rank_heartbeat_timeout: 2/rank_heartbeat_timeout: 30/" run.yaml  # nobody hangs here
seed=${NXD_SEED:-$$}
RANDOM=$seed
each=exp_manager.checkpoint_callback_params.every_n_train_steps=1
few=exp_manager.checkpoint_callback_params.save_top_k=2
newest_of() { sed -nE 's,^saved .*/step-0*([0-9]+)\.g.*,\1,p' "$1" | tail -1; }
resumed_at() { sed -nE 's/.*resumed from .* at step ([0-9]+).*/\1/p' "$1"; }

# ---- at every call -------------------------------------------------------------------------------

"$mpirun" 2 "$faulty" run.yaml name=alone $each trainer.max_steps=4 > log 2>&1 || die "a run does not end"
"$mpirun" 2 "$faulty" run.yaml name=before $each $few trainer.max_steps=3 > log 2>&1 || die "a run does not end"
# once KIND:RANK:NUMBER: the run goes on from step 3 to step 4, with that fault
once() {
  rm -rf runs/killed struck; cp -r runs/before runs/killed
  NXD_CALL=$1 "$mpirun" 2 "$faulty" run.yaml name=killed $each $few trainer.max_steps=4 > log 2>&1
}
newest_there() { find runs/killed/checkpoints -maxdepth 1 -name 'step-*' | sed -E 's,.*/step-0*([0-9]+)\..*,\1,' | sort -n | tail -1; }
# named FILE: calls without the numbers that are others in each save
named() { sed -E 's/[0-9a-f]{12,}/N/g;s/\.g[0-9]+//g' "$1"; }
# to_visit: numbers of calls; in full runs all, and then those whose names were missed, and their neighbours
to_visit() {
  if [[ -z ${NXD_FULL:-} ]]; then shuf -i 1-"$count" -n 3 --random-source=<(yes "$seed")
  else awk 'FILENAME == ARGV[1] { seen[$0] = 1; next } !($0 in seen) { print FNR - 1; print FNR; print FNR + 1 }' \
    <(named visited) <(named calls) | sort -nu | sed '/^0$/d'; fi
}
killed=0
for rank in 0 1; do
  rm -f calls visited; : > visited
  once count:$rank:0 || die "a run does not go on"
  count=$(wc -l < calls)
  [[ $count -gt 5 ]] || die "rank $rank makes only $count calls"
  for pass in 1 ${NXD_FULL:+2 3}; do
    for n in $(to_visit); do
      once kill:$rank:$n; status=$?
      [[ -e struck ]] || continue  # one call less than before: names are compared below
      what="rank $rank, killed at $(cat struck)"
      [[ $status -ne 0 ]] || fail "$what: the job ends with status 0"
      cat struck >> visited
      killed=$((killed + 1))
      newest=$(newest_there) told=$(newest_of log)
      [[ ${newest:-0} -ge ${told:-3} ]] || { fail "$what: only step ${newest:-0} is there"; continue; }
      "$program" checkpoint verify runs/killed > log 2>&1 || { fail "$what: a checkpoint is broken"; show log; }
      "$program" checkpoint diff runs/killed runs/alone/checkpoints/step-*"$newest".g* > log 2>&1 || { fail "$what: other bits"; show log; }
    done
  done
  comm -23 <(named calls | sort -u) <(named visited | sort -u) > log
  [[ -z ${NXD_FULL:-} || ! -s log ]] || { fail "not every call of rank $rank is visited"; show log; }
done
[[ -e failures ]] || echo "killed at $killed calls: what is there is whole, and not older than what was told"

# judge LOG: a run has gone on from what was told to be saved before, or from something newer
told=0
judge() {
  local at; at=$(resumed_at "$1")
  [[ ${at:-$told} -ge $told ]] || { fail "a run goes on from step $at, but step $told was saved (seed $seed)"; show "$1"; }
  at=$(newest_of "$1"); [[ -z $at ]] || told=$at
}
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
  for n in 2 4; do
    "$mpirun" $n "$program" train run.yaml name=steady-$n $no_saves trainer.max_steps=$steps > log 2>&1 || die "a run does not end"
  done
  # off NAME: the furthest that a run's losses are from those of one on 2 ranks
  off() {
    awk 'NR == FNR { loss[$1] = $2; next } { off = $2 / loss[$1] - 1; if (off < 0) off = -off; if (off > most) most = off }
         END { printf "%.10f", most }' <(losses steady-2) <(losses "$1")
  }
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
  # Sums of other orders round otherwise, which grows with the steps; other samples are off by a percent.
  rounding=$(off steady-4) found=$(off elastic)
  awk -v found="$found" -v most="$rounding" 'BEGIN { exit !(found <= 10 * most && most < 1e-4) }' ||
    fail "on other ranks a run has other losses: $found off, and $rounding without kills (seed $seed)"
fi

passed
