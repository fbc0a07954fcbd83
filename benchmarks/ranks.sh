#!/usr/bin/env bash
# What ranks are worth: tokens a second of several ranks of one thread over one rank of one thread, with a
# batch each; and over one rank with as many threads, with the same batch, by data, tensor with sequence,
# and pipeline parallelism. Prints the median over the turns of the ratio of median steps, the least and the
# greatest; and the ratio of the best steps of all turns.
#
#   benchmarks/ranks.sh [--turns N] [--ranks N] [--bf16] [15m|125m] [PROGRAM]
#
#   --turns N  how often each is run, in turn (3)
#   --ranks N  ranks; as many threads (2)
#   --bf16     in bf16, with masters
#   15m|125m   parameters of the Llama (15m)
#   PROGRAM    the program (build/release/bin/nxd)
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
turns=3 ranks=2 program=$root/build/release/bin/nxd precision=fp32 size=15m
while [[ $# -gt 0 ]]; do
  case $1 in
    --help | -h) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    --turns | --ranks)
      [[ $# -ge 2 ]] || { echo "$1 needs a value" >&2; exit 2; }
      declare "${1#--}=$2"; shift ;;
    --bf16) precision=mixed_precision ;;
    15m | 125m) size=$1 ;;
    *) program=$1 ;;
  esac
  shift
done
[[ -x $program ]] || { echo "ranks.sh: $program is not there; build it first" >&2; exit 2; }
program=$(realpath "$program")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat "$root"/include/nxd/*/*.hpp > text.txt
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

case $size in
  15m) model=(model.num_layers=6 model.hidden_size=288 model.ffn_hidden_size=768 trainer.max_steps=8) ;;
  125m) model=(model.num_layers=12 model.hidden_size=768 model.ffn_hidden_size=2048 trainer.max_steps=5
               model.num_attention_heads=12 model.num_kv_heads=12) ;;
esac
base=("$root/benchmarks/plan_accuracy.yaml" "data.train_dir=$work/text.txt" "${model[@]}" model.vocab_size=32000
      "precision.type=$precision" "exp_manager.exp_dir=$work/runs")
d=distributed_strategy batch=8
# run RANKS THREADS NAME OVERRIDE...: adds NAME and tokens a second, of the median and of the best step, to
# `rates`.
run() {
  local ranks=$1 threads=$2 name=$3 start=(); shift 3
  [[ $ranks -eq 1 ]] || start=(mpirun -np "$ranks" --map-by "slot:PE=$threads" --bind-to core)
  rm -rf "runs/$name"
  OMP_NUM_THREADS=$threads ${start[@]+"${start[@]}"} "$program" train "${base[@]}" "name=$name" "$@" > log.txt 2>&1 ||
    { cat log.txt >&2; exit 2; }
  sed 's/.*"tokens_per_s":\([0-9.e+-]*\).*/\1/' "runs/$name/metrics.jsonl" | tail -n +3 | sort -g |
    awk -v n="$name" '{ all[NR] = $1 } END { print n, all[int((NR + 1) / 2)], all[NR] }' >> rates
}
for ((turn = 0; turn < turns; ++turn)); do
  run 1 1 one_rank data.micro_batch_size=$batch data.global_batch_size=$batch
  run "$ranks" 1 a_batch_each data.micro_batch_size=$batch data.global_batch_size=$((batch * ranks))
  run 1 "$ranks" threads data.micro_batch_size=$batch data.global_batch_size=$batch
  run "$ranks" 1 data_parallel data.micro_batch_size=$((batch / ranks)) data.global_batch_size=$batch
  run "$ranks" 1 tensor_and_sequence_parallel $d.tensor_model_parallel_size="$ranks" $d.sequence_parallel=true \
      data.micro_batch_size=$batch data.global_batch_size=$batch
  run "$ranks" 1 pipeline $d.pipeline_model_parallel_size="$ranks" $d.pipeline_schedule=zb-h1 \
      $d.pipeline_layers=balanced data.micro_batch_size=1 data.global_batch_size=$batch
done
awk -v ranks="$ranks" -v what="$size, $precision" '
  { rate[$1, ++count[$1]] = $2; if ($3 > best[$1]) best[$1] = $3 }
  function ratios(a, b,   i, j, n, t, r) {
    n = count[a]
    for (i = 1; i <= n; ++i) r[i] = rate[a, i] / rate[b, i]
    for (i = 1; i <= n; ++i) for (j = i + 1; j <= n; ++j) if (r[j] < r[i]) { t = r[i]; r[i] = r[j]; r[j] = t }
    return sprintf("%6.3f  (%.3f to %.3f)  best %.3f", r[int((n + 1) / 2)], r[1], r[n], best[a] / best[b])
  }
  END {
    print what ", " ranks " ranks of one thread, tokens/s"
    print "over one rank of one thread, a batch each:    " ratios("a_batch_each", "one_rank")
    print "over one rank of " ranks " threads, the same batch:"
    print "  data parallel, ZeRO-1                       " ratios("data_parallel", "threads")
    print "  tensor and sequence parallel                " ratios("tensor_and_sequence_parallel", "threads")
    print "  pipeline, ZB-H1, 8 microbatches             " ratios("pipeline", "threads")
  }' rates
