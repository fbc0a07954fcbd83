# Runs with faults, for tests that source this: a configuration in run.yaml, `start` for a run in the
# background, `ended` for how it must end.
# shellcheck shell=bash
source "$(dirname "${BASH_SOURCE[0]}")/program.sh"
faulty=${NXD_FAULTY:-${NXD_BINARY_DIR:?}/tests/test.faulty}
launch=${NXD_SOURCE_DIR:?}/examples/launch.sh

sums 1500
cat > run.yaml <<'YAML'
name: run
trainer: {max_steps: 100000, gradient_clip_val: 1.0, log_every_n_steps: 1000}
exp_manager:
  exp_dir: runs
  resume_if_exists: true
  checkpoint_callback_params: {save_top_k: -1}
  fault_tolerance: {rank_heartbeat_timeout: 2}
distributed_strategy: {tensor_model_parallel_size: 1, zero1: true}
data: {train_dir: text, micro_batch_size: 1, global_batch_size: 8, seq_length: 32, splits_string: "900,100,0"}
model:
  num_layers: 4
  hidden_size: 32
  ffn_hidden_size: 64
  num_attention_heads: 4
  optim: {lr: 1e-3}
YAML
no_saves=exp_manager.create_checkpoint_callback=false
tp2=distributed_strategy.tensor_model_parallel_size=2
pp2=(distributed_strategy.pipeline_model_parallel_size=2 distributed_strategy.pipeline_schedule=zb-v)

# children PID: of a process
children() { cat /proc/[0-9]*/status 2> /dev/null | awk -v of="$1" '/^Pid:/ { pid = $2 } /^PPid:/ && $2 == of { print pid }'; }
told_steps() { wc -l 2> /dev/null < "runs/$1/metrics.jsonl" || echo 0; }
# start RANKS NAME PROGRAM [KEY=VALUE ...]: a run in the background, which has done some steps: its job, its
# mpirun, its ranks
start() {
  local n=$1; name=$2; local what=$3; shift 3
  local command=("$what"); [[ $what != "$program" ]] || command+=(train)
  "$mpirun" "$n" "${command[@]}" run.yaml name="$name" "$@" > "log-$name" 2>&1 &
  job=$!
  local i; for ((i = 0; i < 1000; ++i)); do
    [[ $(told_steps "$name") -le ${after:-5} ]] || break
    kill -0 "$job" 2> /dev/null || break
    sleep 0.02
  done
  launcher=$(children "$job" | head -1)
  mapfile -t ranks < <(children "$launcher")
  began=${EPOCHREALTIME/[.,]/}
  [[ ${#ranks[@]} -eq $n || -n ${may_end:-} ]] || { cp "log-$name" log; die "$name has not started, or is over too soon"; }
}
# ended CODE MOST_MS WORDS: the job ends with that code, within that time, and one line has the words;
# exit.json has the code too, unless another one is given
ended() {
  local code=$1 most=$2 words=$3 noted=${4:-$1} status took why=""
  wait "$job"; status=$?
  took=$(( (${EPOCHREALTIME/[.,]/} - began) / 1000 ))
  [[ $status -eq $code ]] || why="exit code $status, not $code"
  [[ $took -le $most ]] || why="takes $took ms, not $most"
  grep -aqE "^nxd: .*$words" "log-$name" || why="no line has '$words'"
  grep -q "^{\"code\": $noted, " "runs/$name/exit.json" || why="exit.json: $(cat "runs/$name/exit.json" 2>&1)"
  [[ -z $why ]] || { fail "$name: $why"; show "log-$name"; }
}
# What trains in runs that are compared bit for bit: compilers' options may change the last bit of a loss.
trains=("$program" train)
# The losses of a run; and one that is never stopped, to compare with.
losses() { sed -E 's/.*"step":([0-9]+),"loss":([^,]*),.*/\1 \2/' "runs/$1/metrics.jsonl"; }
run_whole() {
  "$mpirun" 2 "${trains[@]}" run.yaml name=whole $no_saves trainer.max_steps=60 > log 2>&1 || die "a run does not end"
  [[ $(cat runs/whole/exit.json) == '{"code": 0, "reason": "done"'* ]] || fail "a run that is done has another exit.json"
}
# goes_on NAME: to step 60, with the losses of `whole`, bit for bit
goes_on() {
  "$mpirun" 2 "${trains[@]}" run.yaml name="$1" trainer.max_steps=60 > log 2>&1 || { fail "$1 does not go on"; show log; }
  grep -q "resumed from .* at step" log || fail "$1 does not go on, but begins anew"
  cmp -s <(losses whole) <(losses "$1") || fail "$1 has other losses than a run that is never stopped"
}
