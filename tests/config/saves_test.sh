#!/usr/bin/env bash
# Saves in the background as a user has them: a job of real ranks that is killed with -9 at random moments,
# all of it and one rank alone in turn, again and again, ends where one ends that was left alone, and never
# goes back behind a checkpoint that it has told of; a full disk does not end a run; the end of a run waits
# for its last save.
source "$(dirname "${BASH_SOURCE[0]}")/program.sh"
export NXD_MPI_TIMEOUT=120
kills=8
[[ -z ${NXD_FULL:-} ]] || kills=200
seed=${NXD_SEED:-$$}
RANDOM=$seed

sums 1500
cat > run.yaml <<'YAML'
name: run
trainer: {max_steps: 100000, gradient_clip_val: 1.0}
exp_manager:
  exp_dir: runs
  resume_if_exists: true
  async_checkpointing: true
  checkpoint_callback_params: {every_n_train_steps: 1, save_top_k: 3}
distributed_strategy: {tensor_model_parallel_size: 1, zero1: true}
data: {train_dir: text, micro_batch_size: 1, global_batch_size: 4, seq_length: 64}
YAML
small_llama 2 64 >> run.yaml
saved=runs/run/checkpoints
train() { timeout 120 "$mpirun" "$1" "$program" train run.yaml "${@:2}" > log 2>&1; }
# newest_of LOG: the newest step that a run has told to be saved
newest_of() { sed -nE 's,^saved .*/step-0*([0-9]+)\.g.*,\1,p' "$1" | tail -1; }
# children PID: of a process. One that ends meanwhile is passed over.
children() {
  local file fields
  for file in /proc/[0-9]*/stat; do
    { read -r fields < "$file"; } 2> /dev/null || continue
    read -r _ fields _ <<< "${fields##*) }"
    [[ $fields != "$1" ]] || { file=${file#/proc/}; echo "${file%/stat}"; }
  done
}
descendants() { local pid; for pid in $(children "$1"); do echo "$pid"; descendants "$pid"; done; }

# ---- kill -9 at random moments -------------------------------------------------------------------

told=0 resumed=0
for ((trial = 1; trial <= kills; ++trial)); do
  rm -f log; : > log
  "$mpirun" 2 "$program" train run.yaml >> log 2>&1 &
  job=$!
  # From the first save of this start on, for about the time that some saves take.
  for ((i = 0; i < 3000; ++i)); do
    grep -q "^saved " log && break
    kill -0 "$job" 2> /dev/null || die "the run has ended by itself (seed $seed)"
    sleep 0.01
  done
  sleep "0.$(printf %03d $((RANDOM % 120)))"
  if [[ $((trial % 2)) -eq 0 ]]; then  # one rank alone: mpirun ends the other
    mapfile -t ranks < <(children "$(children "$job" | head -1)")
    began=${EPOCHREALTIME/[.,]/}
    kill -9 "${ranks[RANDOM % 2]}"
    wait "$job" 2> /dev/null
    took=$(( (${EPOCHREALTIME/[.,]/} - began) / 1000 ))
    [[ $took -le 3000 ]] || fail "a job of which one rank was killed goes on for $took ms (seed $seed)"
  else
    # shellcheck disable=SC2046
    kill -9 $(descendants "$job") 2> /dev/null
    wait "$job" 2> /dev/null
  fi
  now=$(sed -nE 's/.*resumed from .* at step ([0-9]+).*/\1/p' log)
  [[ $trial -eq 1 || ${now:-0} -ge $told ]] ||
    { fail "a run goes on from step ${now:-0}, but step $told was saved (seed $seed)"; show log; }
  [[ -z $now ]] || resumed=$((resumed + 1))
  told=$(newest_of log)
  [[ $(find "$saved" -maxdepth 1 -name '.bad-*' | wc -l) -eq 0 ]] || die "a checkpoint is broken (seed $seed)"
done
[[ $resumed -eq $((kills - 1)) ]] || fail "of $kills starts only $resumed went on (seed $seed)"
steps=$((told + 6))
train 2 trainer.max_steps=$steps || die "a killed run does not go on (seed $seed)"
grep -q "^saved .*/step-0*$steps\.g" log || fail "the end of a run does not wait for its save"
"$program" checkpoint verify runs/run > log 2>&1 || { fail "the last checkpoint is not sound"; show log; }
train 2 name=alone trainer.max_steps=$steps exp_manager.async_checkpointing=false \
  exp_manager.checkpoint_callback_params.every_n_train_steps=100000 || die "a run does not train"
losses() { sed -E 's/.*("step": ?[0-9]+).*("loss": ?[^,]+).*("grad_norm": ?[^,]+).*/\1 \2 \3/' "runs/$1/metrics.jsonl"; }
diff <(losses run) <(losses alone) > log || { fail "a run that was killed has other losses (seed $seed)"; show log; }
[[ $(losses alone | wc -l) -eq $steps ]] || fail "a run does not tell its steps"
"$program" checkpoint diff "$saved" runs/alone/checkpoints > log 2>&1 || { fail "a run that was killed ends elsewhere"; show log; }
# The three newest stay, and the one that the last start went on from.
entries=$(find "$saved" -maxdepth 1 -name 'step-*' | wc -l)
[[ $entries -eq 3 || $entries -eq 4 ]] || fail "old checkpoints stay, or new ones go: $entries are there"
[[ -e failures ]] || echo "$kills kills, $steps steps: the same bits"

# ---- a disk that refuses -------------------------------------------------------------------------

# What a user may not write to, a run cannot; root may, so its files are held small instead.
for kind in true false; do
  rm -rf runs/small
  (ulimit -f 100; trap '' XFSZ
   "$program" train run.yaml name=small trainer.max_steps=3 exp_manager.async_checkpointing=$kind > log 2>&1)
  status=$?
  [[ $status -eq 74 ]] || fail "a run whose last save fails ends with status $status, not 74"
  [[ $(grep -c "^warning: step . is not saved: .*File too large; training goes on" log) -ge 3 ]] ||
    { fail "failed saves are not told"; show log; }
  [[ $(grep -c '"step"' runs/small/metrics.jsonl) -eq 3 ]] || fail "a failed save ends a run"
  [[ -z $(find runs/small/checkpoints -name 'step-*' -o -name '.tmp-*') ]] || fail "a failed save leaves something"
done
sed 's/save_top_k: 3/save_top_k: 3, save_last: false/;s/every_n_train_steps: 1/every_n_train_steps: 2/' run.yaml > sparse.yaml
(ulimit -f 100; trap '' XFSZ; "$program" train sparse.yaml name=sparse trainer.max_steps=3 > log 2>&1) ||
  { fail "a run that wants no last save ends with an error"; show log; }

passed
