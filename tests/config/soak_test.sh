#!/usr/bin/env bash
# What is right is not complained of: a run whose ranks are late now and then, and whose saves are slow, is
# ended by no watchdog, for seconds, and in full runs for ten minutes. There a rank at half its speed is
# named within 20 steps too, and in 200 steps of ranks alike none is.
source "$(dirname "${BASH_SOURCE[0]}")/runs.sh"
export NXD_MPI_TIMEOUT=900
seconds=${NXD_FULL:+600}
began=$SECONDS
NXD_FAULT=noise:0:0 NXD_CALL=slow:0:250 timeout -s USR1 --foreground 900 "$mpirun" 2 "$faulty" run.yaml name=noise \
  exp_manager.fault_tolerance.rank_heartbeat_timeout=2 exp_manager.checkpoint_callback_params.save_top_k=1 \
  exp_manager.checkpoint_callback_params.every_n_train_steps=20 > log 2>&1 &
job=$!
for ((i = 0; SECONDS - began < ${seconds:-6}; ++i)); do kill -0 "$job" 2> /dev/null || break; sleep 0.2; done
kill -0 "$job" 2> /dev/null || { fail "a run with late ranks and slow saves has ended"; show log; }
kill -USR1 "$(children "$(children "$job" | head -1)" | head -1)" 2> /dev/null
wait "$job"; status=$?
[[ $status -eq 75 ]] || { fail "exit code $status, not 75"; tail -5 log > end; show end; }
[[ -z ${NXD_FULL:-} || -e failures ]] || echo "$((SECONDS - began)) s with late ranks: $(told_steps noise) steps, no alarm"

if [[ -n ${NXD_FULL:-} ]]; then
  large=(model.hidden_size=256 model.ffn_hidden_size=1024 data.seq_length=128 trainer.log_every_n_steps=1 $no_saves
    exp_manager.straggler_detection_params.report_time_interval=0
    exp_manager.fault_tolerance.rank_heartbeat_timeout=30)  # nobody hangs here, and these steps are long
  "$mpirun" 2 "$program" train run.yaml name=clean trainer.max_steps=200 "${large[@]}" > log 2>&1 || die "a run does not end"
  ! grep -q " is slow: " log || { fail "a rank is called slow that is not"; grep " is slow: " log > slow; show slow; }
  after=25 start 2 slow "$program" "${large[@]}"
  (while kill -STOP "${ranks[1]}" 2> /dev/null; do sleep 0.02; kill -CONT "${ranks[1]}"; sleep 0.02; done) &
  limiter=$!
  first=$(told_steps slow)
  for ((i = 0; i < 3000; ++i)); do ! grep -q " is slow: " log-slow || break; sleep 0.02; done
  kill "$limiter"; wait "$limiter" 2> /dev/null
  kill -CONT "${ranks[1]}"; kill -USR1 "$launcher"; wait "$job"
  at=$(awk '/^step / { split($2, s, "/"); step = s[1] } / is slow: / { print step; exit }' log-slow)
  grep -q "^warning: rank 1 is slow: " log-slow || { fail "the rank that is slow is not named"; show log-slow; }
  ! grep -q "^warning: rank 0 is slow: " log-slow || fail "a rank is called slow that is not"
  [[ $((${at:-999} - first)) -le 20 ]] || fail "it takes $((at - first)) steps to find a slow rank"
  [[ -e failures ]] || echo "a rank at half its speed: found after $((at - first)) steps; none in 200 steps without"
fi

passed
