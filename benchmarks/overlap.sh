#!/usr/bin/env bash
# What it gains that gradients are summed while others are still made, or that updated weights are gathered while
# the next forward pass goes on, or that exchanges over tensor ranks go on while products are made: a step of a
# Llama of 15 M parameters on two hosts of this machine, with one rank each, over a link of 1 Gbit/s, without and
# with it.
#
#   benchmarks/overlap.sh [--gathers | --both | --tensor [--sequence-parallel]] [--turns N] [--rate RATE]
#                         [--accumulate N] [--hidden N] [--vocab N] [--no-zero1] [--tied] [PROGRAM]
#
#   --gathers       of weights, not sums of gradients
#   --both          both of them
#   --tensor        the hosts are tensor ranks: exchanges beside products
#   --turns N       how often each is run, in turn (3)
#   --rate RATE     of the link, as tc has it (1gbit)
#   --accumulate N  microbatches of a step on each rank (1)
#   --hidden N      the model's width (288), a multiple of 12; its layers are 6, or 2 from 1024 on
#   --vocab N       rows of the embedding (32000)
#   --no-zero1      every rank keeps the whole state of the optimizer
#   --tied          embedding and head are one table, whose gradient is whole at the very end
#   PROGRAM         the program (build/release/bin/nxd)
#
# Exit status 77 where network namespaces may not be made, as in tests/comm/two_hosts.sh, which makes them.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
turns=3 rate=1gbit accumulate=1 vocab=32000 sums=(overlap_grad_sync) gathers=() zero1=true tied=false
hidden=288 tensor=() program=$root/build/release/bin/nxd
while [[ $# -gt 0 ]]; do
  case $1 in
    --help | -h) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    --turns | --rate | --accumulate | --vocab | --hidden)
      [[ $# -ge 2 ]] || { echo "$1 needs a value" >&2; exit 2; }
      declare "${1#--}=$2"; shift ;;
    --gathers) sums=() gathers=(overlap_param_sync) ;;
    --both) gathers=(overlap_param_sync) ;;
    --tensor) sums=() gathers=() tensor+=(distributed_strategy.tensor_model_parallel_size=2) ;;
    --sequence-parallel) tensor+=(distributed_strategy.sequence_parallel=true) ;;
    --no-zero1) zero1=false ;;
    --tied) tied=true ;;
    *) program=$1 ;;
  esac
  shift
done
[[ -x $program ]] || { echo "overlap.sh: $program is not there; build it first" >&2; exit 2; }
program=$(realpath "$program")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat "$root"/include/nxd/*/*.hpp > text.txt

batch=4 replicas=2 keys=("${sums[@]/#/model.optim.}" "${gathers[@]/#/model.optim.}")
[[ ${#tensor[@]} -eq 0 ]] || replicas=1 keys=(distributed_strategy.tp_comm_overlap)
# run NAME true|false: adds NAME, the seconds of a step and its peak, of the median step, to `steps`.
run() {
  rm -rf "runs/$1"
  local status=0
  NXD_MPI_TIMEOUT=110 NXD_RANKS_PER_HOST=1 NXD_LINK_RATE=$rate "$root/tests/comm/two_hosts.sh" "$program" train \
    "$root/benchmarks/plan_accuracy.yaml" "data.train_dir=$work/text.txt" trainer.max_steps=7 \
    model.num_layers=$((hidden < 1024 ? 6 : 2)) model.hidden_size="$hidden" \
    model.ffn_hidden_size=$((hidden * 8 / 3)) "model.vocab_size=$vocab" "${tensor[@]}" \
    "model.share_embeddings_and_output_weights=$tied" distributed_strategy.zero1=$zero1 \
    data.micro_batch_size=$batch data.global_batch_size=$((replicas * batch * accumulate)) \
    "exp_manager.exp_dir=$work/runs" "name=$1" "${keys[@]/%/=$2}" > log.txt 2>&1 || status=$?
  [[ $status -ne 77 ]] || { cat log.txt; exit 77; }
  [[ $status -eq 0 ]] || { cat log.txt >&2; exit 2; }
  awk -v n="$1" 'match($0, /"tokens_per_s":[0-9.e+-]+/) { print n, substr($0, RSTART + 15, RLENGTH - 15) }' \
    "runs/$1/metrics.jsonl" | tail -n +3 | sort -g -k 2 |
    awk '{ all[NR] = $0 } END { print all[int((NR + 1) / 2)] }' >> rates
  sed 's/.*"loss":\([^,]*\),.*/\1/' "runs/$1/metrics.jsonl" > "losses.$1"
}
for ((turn = 0; turn < turns; ++turn)); do
  run late false
  run early true
  cmp -s losses.late losses.early || { echo "overlap.sh: losses differ" >&2; exit 1; }
done
awk -v tokens=$((replicas * batch * accumulate * 256)) -v rate="$rate" '
  { time[$1, ++count[$1]] = tokens / $2 }
  function median(r, n,   i, j, t) {
    for (i = 1; i <= n; ++i) for (j = i + 1; j <= n; ++j) if (r[j] < r[i]) { t = r[i]; r[i] = r[j]; r[j] = t }
    return r[int((n + 1) / 2)]
  }
  END {
    n = count["late"]
    for (i = 1; i <= n; ++i) { a[i] = time["late", i]; b[i] = time["early", i]; r[i] = a[i] / b[i] }
    m = median(r, n)
    printf "two hosts, %s, seconds a step: %.3f without, %.3f with; %.3f times as fast  (%.3f to %.3f)\n",
           rate, median(a, n), median(b, n), m, r[1], r[n]
  }' rates
