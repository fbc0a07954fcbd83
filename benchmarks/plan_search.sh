#!/usr/bin/env bash
# Is the layout that `nxd plan --search` puts first the fastest one? Every layout of two ranks is run that
# keeps its activations, and compared with the choice.
#
#   benchmarks/plan_search.sh [PROGRAM]
#
#   PROGRAM  the program (build/release/bin/nxd)
#
# The exit status is 1 if the choice is more than 5 % slower than the best.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
program=$(realpath -m "${1:-$root/build/release/bin/nxd}")
[[ -x $program ]] || { echo "plan_search.sh: $program is not there; build it first" >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat "$root"/include/nxd/*/*.hpp > text.txt
export OMP_WAIT_POLICY=passive OMP_NUM_THREADS=1
base=("$root/benchmarks/plan_accuracy.yaml" "data.train_dir=$work/text.txt" trainer.max_steps=6)

# run NAME OVERRIDE...: adds NAME and the seconds of its quickest step to `times`.
run() {
  local name=$1; shift
  "$root/tests/mpirun.sh" 2 "$program" train "${base[@]}" "$@" "name=$name" "exp_manager.exp_dir=$work/runs" > log.txt 2>&1 ||
    { cat log.txt >&2; exit 2; }
  sed 's/.*"step_ms":\([0-9.e+-]*\).*/\1/' "runs/$name/metrics.jsonl" | tail -n +2 | sort -g | head -1 |
    awk -v n="$name" '{ printf "%-24s %8.4f\n", n, $1 / 1000 }' | tee -a times
}

"$root/tests/mpirun.sh" 2 "$program" plan --calibrate machine.json > /dev/null
"$program" plan "${base[@]}" --search --ranks 2 --machine machine.json > search.txt
cat search.txt
read -r -a choice <<< "$(sed -n 's/^the fastest: //p' search.txt)"

echo "measured, seconds of the quickest step"
run choice "${choice[@]}"
d=distributed_strategy
for micro in 1 2 4; do
  size=data.micro_batch_size=$micro
  run "dp2_zero1_$micro" "$size"
  run "dp2_replicated_$micro" "$size" $d.zero1=false
  run "tp2_$micro" "$size" $d.tensor_model_parallel_size=2
  run "tp2_sp_$micro" "$size" $d.tensor_model_parallel_size=2 $d.sequence_parallel=true
  for kind in gpipe 1f1b interleaved zb-h1 zb-v; do
    run "pp2_${kind}_$micro" "$size" $d.pipeline_model_parallel_size=2 $d.pipeline_schedule=$kind
  done
done
run choice_again "${choice[@]}"
awk '$1 ~ /^choice/ { if (chosen == 0 || $2 < chosen) chosen = $2 }
     { if (best == 0 || $2 < best) { best = $2; name = $1 } }
     END { printf "the choice takes %.3f of the best, %s\n", chosen / best, name; exit (chosen > 1.05 * best) }' times
