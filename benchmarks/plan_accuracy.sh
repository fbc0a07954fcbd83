#!/usr/bin/env bash
# How near `nxd plan` comes to the run: predicted against measured step time, over layouts of a Llama of
# 15 M parameters on up to two ranks. The machine is measured beside each group of runs.
#
#   benchmarks/plan_accuracy.sh [--json] [PROGRAM]
#
#   PROGRAM  the program (build/release/bin/nxd)
#   --json   one object a line instead of a table
#
# The exit status is 1 if a prediction is more than 15 % off.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
format=table program=$root/build/release/bin/nxd
for argument in "$@"; do
  case $argument in
    --json) format=json ;;
    --help | -h) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    *) program=$argument ;;
  esac
done
[[ -x $program ]] || { echo "plan_accuracy.sh: $program is not there; build it first" >&2; exit 2; }
program=$(realpath "$program")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat "$root"/include/nxd/*/*.hpp > text.txt

export OMP_WAIT_POLICY=passive
launch() {
  if [[ $1 -eq 1 ]]; then shift; "$@"; else "$root/tests/mpirun.sh" "$@"; fi
}

base=("$root/benchmarks/plan_accuracy.yaml" "data.train_dir=$work/text.txt")
worst=0
# measure RANKS THREADS NAME OVERRIDE...: one line of the table.
measure() {
  local ranks=$1 threads=$2 name=$3; shift 3
  export OMP_NUM_THREADS=$threads
  local planned
  planned=$("$program" plan "${base[@]}" "$@" --ranks "$ranks" --machine machine.json --format json |
            tr ',' '\n' | sed -n 's/^ *"seconds": *//p')
  launch "$ranks" "$program" train "${base[@]}" "$@" "name=$name" "exp_manager.exp_dir=$work/runs" > log.txt 2>&1 ||
    { cat log.txt >&2; exit 2; }
  local measured
  measured=$(sed 's/.*"step_ms":\([0-9.e+-]*\).*/\1/' "runs/$name/metrics.jsonl" | tail -n +3 | sort -g |
             awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] / 1000 }')
  local off
  off=$(awk -v p="$planned" -v m="$measured" 'BEGIN { printf "%.1f", 100 * (p / m - 1) }')
  worst=$(awk -v w="$worst" -v o="$off" 'BEGIN { o = o < 0 ? -o : o; print (o > w ? o : w) }')
  if [[ $format == json ]]; then
    echo "{\"plan\": \"$name\", \"ranks\": $ranks, \"threads\": $threads, \"predicted_s\": $planned, \"measured_s\": $measured, \"off_percent\": $off}"
  else
    awk -v n="$name" -v r="$ranks" -v t="$threads" -v p="$planned" -v m="$measured" -v o="$off" \
      'BEGIN { printf "%-28s %2d x %d  %10.4f  %10.4f  %+6.1f %%\n", n, r, t, p, m, o }'
  fi
}
# calibrate RANKS THREADS: what the next lines are planned with.
calibrate() {
  OMP_NUM_THREADS=$2 launch "$1" "$program" plan --calibrate machine.json > log.txt 2>&1 ||
    { cat log.txt >&2; exit 2; }
}

d=distributed_strategy
tp=$d.tensor_model_parallel_size=2 pp=$d.pipeline_model_parallel_size=2
[[ $format == json ]] || echo "plan                     ranks x threads  predicted s  measured s     off"
calibrate 1 1
measure 1 1 one_rank
measure 1 1 full_recompute model.activations_checkpoint_granularity=full
calibrate 1 1
measure 1 1 long_microbatches data.micro_batch_size=4
measure 1 1 sgd model.optim.name=sgd
calibrate 1 2
measure 1 2 two_threads
measure 1 2 two_threads_selective model.activations_checkpoint_granularity=selective
calibrate 2 1
measure 2 1 tp2 $tp
measure 2 1 tp2_sequence $tp $d.sequence_parallel=true
measure 2 1 dp2_zero1
calibrate 2 1
measure 2 1 dp2_replicated $d.zero1=false
measure 2 1 pp2_1f1b $pp
measure 2 1 pp2_gpipe $pp $d.pipeline_schedule=gpipe
calibrate 2 1
measure 2 1 pp2_interleaved $pp $d.pipeline_schedule=interleaved
measure 2 1 pp2_zb_h1 $pp $d.pipeline_schedule=zb-h1
measure 2 1 pp2_zb_v $pp $d.pipeline_schedule=zb-v
[[ $format == json ]] || echo "worst: $worst %"
awk -v w="$worst" 'BEGIN { exit (w > 15) }'
