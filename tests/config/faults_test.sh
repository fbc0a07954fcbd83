#!/usr/bin/env bash
# What goes wrong in a run ends it soon: with one line that names the rank and where it was, with the
# exit code for it, and with exit.json. Signals save, and the run goes on as if nothing had been.
source "$(dirname "${BASH_SOURCE[0]}")/runs.sh"

# ---- a rank that ends ----------------------------------------------------------------------------

start 2 killed "$program" $no_saves; kill -KILL "${ranks[1]}"
ended 137 3000 "rank 1 is gone; it was at step [0-9]+" 70
start 2 crashed "$program" $no_saves "${pp2[@]}"; kill -SEGV "${ranks[1]}"
ended 139 3000 "rank 1 at step [0-9]+, .*SIGSEGV"
may_end=yes NXD_FAULT=throw:1:10 start 2 thrown "$faulty" $no_saves
ended 70 3000 "rank 1 at step 10.*: a fault that was asked for"
may_end=yes NXD_FAULT=exit:1:10 start 4 left "$faulty" $no_saves $tp2
ended 3 3000 "rank 1 at step 10.*: called exit" 70

# ---- a rank that stays ---------------------------------------------------------------------------

start 2 stopped "$program" $no_saves; kill -STOP "${ranks[0]}"
ended 72 5000 "a step has taken more than 2 s: rank 0 is stopped at step [0-9]+"
rows=(distributed_strategy.{sequence_parallel,tp_comm_overlap}=true model.{num_layers=1,hidden_size=256,ffn_hidden_size=512})
start 2 beside "$program" $no_saves $tp2 "${rows[@]}" data.{seq_length=256,global_batch_size=2}; kill -STOP "${ranks[0]}"
ended 72 5000 "a step has taken more than 2 s: rank 0 is stopped at step [0-9]+"
start 4 asleep "$faulty" $no_saves $tp2; kill -USR2 "${ranks[2]}"
ended 72 5000 "a step has taken more than 2 s: .*rank 2 is at step [0-9]+"
NXD_FAULT=spin:0:0 start 2 spinning "$faulty" $no_saves "${pp2[@]}"; kill -USR2 "${ranks[1]}"
ended 72 5000 "a step has taken more than 2 s: .*rank 1 is at step [0-9]+"

# ---- signals ---------------------------------------------------------------------------------------

run_whole
few=(trainer.max_steps=100000)
start 2 usr1 "$program" "${few[@]}"; kill -USR1 "$launcher"
ended 75 5000 "asked to end, after step [0-9]+"; goes_on usr1
start 2 term "$program" "${few[@]}"; kill -TERM "${ranks[1]}"; kill -TERM "${ranks[0]}"; sleep 0.01; kill -TERM "${ranks[1]}" 2> /dev/null
ended 75 5000 "asked to end, after step [0-9]+"; goes_on term
after=1 start 2 validating "$program" trainer.val_check_interval=3 data.splits_string=500,500,0; kill -USR1 "${ranks[0]}"
ended 75 5000 "asked to end, after step [0-9]+"
after=4 start 2 saving "$program" exp_manager.checkpoint_callback_params.every_n_train_steps=1; kill -USR1 "$launcher"
sleep 0.005; kill -USR1 "$launcher" 2> /dev/null
ended 75 5000 "asked to end, after step [0-9]+"
may_end=yes after=-1 start 2 early "$program" "${few[@]}"
until [[ $(children "$launcher" | wc -l) -eq 2 ]]; do launcher=$(children "$job" | head -1); sleep 0.01; done
kill -USR1 "$(children "$launcher" | tail -1)"
wait "$job"; [[ $? -ne 0 ]] || fail "a signal at the start is lost"

# The launcher turns SIGTERM into a save, and hands the exit code on.
NXD_MPIRUN=$mpirun "$launch" 2 "$program" train run.yaml name=launched > log-launched 2>&1 &
job=$! name=launched
for ((i = 0; i < 1000; ++i)); do [[ $(told_steps launched) -le 5 ]] || break; sleep 0.02; done
began=${EPOCHREALTIME/[.,]/}; kill -TERM "$job"
ended 75 5000 "asked to end, after step [0-9]+"; goes_on launched

# ---- numbers that are not ------------------------------------------------------------------------

may_end=yes  # from here on runs end by themselves
NXD_FAULT=nan:1:10 start 2 nan "$faulty" $no_saves
ended 73 3000 "step 10.*gradient norm -?nan"
NXD_FAULT=nan:1:10 start 2 left_out "$faulty" trainer.on_non_finite=skip trainer.max_steps=12
wait "$job" || { fail "a step that is not finite is not left out"; show log-left_out; }
grep -q "^warning: step 10 is left out, samples 72 to 79: .*nan" log-left_out || { fail "nobody says that a step is left out"; show log-left_out; }
# Compared with the same program without a fault: compilers' options may change the last bit of a loss.
"$mpirun" 2 "$faulty" run.yaml name=faultless $no_saves trainer.max_steps=9 > log 2>&1 || die "a run does not end"
cmp -s <(losses faultless) <(losses left_out | head -9) || fail "before a step is left out, losses differ"
tail -1 runs/left_out/metrics.jsonl | grep -q '"step":12,"loss":[0-9.]*,' || fail "a run is not finite after a step that was left out"
start 2 nothing_but "$program" $no_saves trainer.on_non_finite=skip trainer.max_skipped_steps=3 model.optim.lr=1e30
ended 73 60000 "the 3 steps before it were left out too"
start 2 spikes "$program" $no_saves trainer.loss_spike_factor=0.8 trainer.max_steps=40 trainer.max_skipped_steps=100
wait "$job" || { fail "spikes end a run"; show log-spikes; }
grep -q "^warning: step [0-9]* is left out, samples .*times the mean" log-spikes || { fail "no spike is left out"; show log-spikes; }

# ---- replicas --------------------------------------------------------------------------------------

hash=trainer.check_weight_hash_across_dp_replicas_interval=5
NXD_FAULT=flip:2:10 start 4 flipped "$faulty" $no_saves $hash
ended 71 4000 "model\.[a-z_.]*weight: rank 2 has other bits"
[[ $(told_steps flipped) -eq 9 ]] || fail "what replicas disagree on is told as a step"
"$mpirun" 4 "$program" train run.yaml name=alike $no_saves $hash $tp2 trainer.max_steps=12 > log 2>&1 ||
  { fail "replicas that are alike are not"; show log; }
"$mpirun" 2 "$program" train run.yaml name=alike2 $no_saves $hash distributed_strategy.zero1=false trainer.max_steps=12 > log 2>&1 ||
  { fail "replicas with their state are not alike"; show log; }

# ---- ranks that are started unlike ---------------------------------------------------------------

# unlike WORDS FIRST... : SECOND...: two ranks with other arguments
unlike() {
  local words=$1 status; shift
  NXD_MPI_OPTIONS= "$mpirun" 1 "$program" train "$@" > log 2>&1; status=$?
  [[ $status -eq 64 ]] || { fail "exit code $status, not 64: $*"; show log; }
  grep -a "^nxd:" log | grep -qF -- "$words" || { fail "no line has '$words'"; show log; }
}
other=(: -np 1 "$program" train run.yaml name=unlike)
unlike "rank 1 has another configuration than rank 0: seed is 7, not 1234" run.yaml name=unlike "${other[@]}" seed=7
unlike "data.seq_length is 16, not 32" run.yaml name=unlike "${other[@]}" data.seq_length=16 model.optim.lr=1e-4
unlike "model.optim.lr is 1e-04, not 0.001" run.yaml name=unlike "${other[@]}" data.seq_length=16 model.optim.lr=1e-4
cp "$program" copy; printf 'x' >> copy
unlike "rank 1 has another program than rank 0" run.yaml name=unlike : -np 1 ./copy train run.yaml name=unlike

mkdir elsewhere; cp -r run.yaml text elsewhere; sed -i '1s/^/x/' elsewhere/text/sums.txt
other=(: -np 1 -wdir "$PWD/elsewhere" "$program" train run.yaml name=unlike)
unlike "rank 1 has another data set than rank 0: text/sums.txt is another file" run.yaml name=unlike "${other[@]}"
cp text/sums.txt elsewhere/text; cp text/sums.txt elsewhere/text/more.txt
unlike "rank 1 has another data set than rank 0: text/more.txt is on rank 1 alone" run.yaml name=unlike "${other[@]}"
rm elsewhere/text/more.txt; echo '{"num_key_value_heads": 4}' > config.json; echo '{"num_key_value_heads": 2}' > elsewhere/config.json
unlike "rank 1 has another model than rank 0: config.json is another file" run.yaml name=unlike model.model_config=config.json "${other[@]}" model.model_config=config.json
[[ $(told_steps unlike) -eq 0 ]] || fail "unlike ranks take a step"

# ---- a launcher that waits for itself ------------------------------------------------------------

# It has had a rank, which is gone; it is ended after some seconds, and the run with it.
mkdir stuck; printf '#!/bin/bash\nsleep 3 & wait\nexec sleep 60\n' > stuck/mpirun; chmod +x stuck/mpirun
(timeout 30 env -u NXD_MPIRUN PATH="$PWD/stuck:$PATH" "$launch" 1 none; echo $? > stuck/launched) > /dev/null 2>&1 &
(NXD_MPIRUN=$PWD/stuck/mpirun timeout 30 "$program" train run.yaml name=stuck --ranks 1; echo $? > stuck/supervised) > /dev/null 2>&1 &

# ---- a supervisor ----------------------------------------------------------------------------------

printf '#!/bin/bash\nexec "%s" "$2" "${@:3}"\n' "$mpirun" > start.sh; chmod +x start.sh
NXD_MPIRUN=./start.sh "$program" train run.yaml name=again trainer.max_steps=300 --ranks 4 --max-restarts 2 \
  exp_manager.checkpoint_callback_params.every_n_train_steps=5 > log 2>&1 &
job=$!
for ((i = 0; i < 1000; ++i)); do [[ $(told_steps again) -le 12 ]] || break; sleep 0.02; done
mapfile -t ranks < <(children "$(children "$(children "$job")" | tail -1)")
kill -9 "${ranks[-1]}" || die "the ranks of a supervisor are not found"
wait "$job" || { fail "a run that crashed does not end well after it is started again"; show log; }
grep -q "restart 1 of 2 with 2 of 4 ranks, from the newest checkpoint" log || { fail "a supervisor does not say what it does"; show log; }
grep -q "resumed from .* at step" log || fail "a run that is started again begins anew"
[[ $(told_steps again) -eq 300 ]] || fail "a run that is started again tells other steps"
awk 'NR == FNR { loss[$1] = $2; next } FNR <= 60 { off = $2 - loss[$1]; if (off < 0) off = -off; if (off > 2e-6 * $2) exit 1 }' \
  <(losses whole) <(losses again) || fail "on fewer ranks a run has other losses"
refused="$("$program" train run.yaml --ranks 3 2>&1)"; [[ $? -eq 64 && $refused == *"data-parallel ranks"* ]] ||
  fail "ranks that the configuration cannot use are started: $refused"

wait
[[ $(cat stuck/launched) -eq 137 ]] || fail "launch.sh waits for an mpirun without ranks: $(cat stuck/launched)"
[[ $(cat stuck/supervised) -eq 137 ]] || fail "a supervisor waits for an mpirun without ranks: $(cat stuck/supervised)"

passed
