#!/usr/bin/env bash
# Compares a training step with PyTorch's, on the same Llama, batch and threads.
#
#   benchmarks/compare_torch.sh [--turns N] [--threads N] [--ranks N] [--build DIR] [--bf16x3|--bf16]
#                               [15m|125m ...]
#
#   --turns N    how often each is run, in turn (5)
#   --threads N  threads of each (as many as there are cores)
#   --ranks N    data parallel on so many ranks of one thread each, PyTorch's by DistributedDataParallel over
#                gloo on loopback; each rank has a batch of its own (1)
#   --build DIR  where bin/step is (build/release)
#   --bf16x3     our products of floats split in two, on AMX; PyTorch's in fp32
#   --bf16       both in bf16: ours with masters, PyTorch's by autocast
#   --help       this text
#
# Needs PyTorch for /usr/bin/python3 (on Debian: apt install python3-torch). Prints medians of the ratios of
# neighbouring runs, and their best tenth. Where bin/onednn is built, it prints too what share a step has of the
# rate of its products by libraries, in the same minutes: by the faster of oneDNN and OpenBLAS for each, or with
# --bf16 by oneDNN, weights packed before. The exit status is 1 if a median misses its bar.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
build=$root/build/release turns=5 threads=$(nproc) ranks=1 sizes=() mode=() their_mode=() products=(--fp32) precision=fp32
while [[ $# -gt 0 ]]; do
  case $1 in
    --help | -h) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    --turns | --threads | --ranks | --build)
      [[ $# -ge 2 ]] || { echo "$1 needs a value" >&2; exit 2; }
      declare "${1#--}=$2"; shift ;;
    --bf16x3) mode=(--bf16x3) precision=fp32_bf16x3 ;;
    --bf16) mode=(--bf16) their_mode=(--bf16) products=() precision=bf16 ;;
    15m | 125m) sizes+=("$1") ;;
    *) echo "compare_torch.sh: unknown argument $1; see --help" >&2; exit 2 ;;
  esac
  shift
done
[[ ${#sizes[@]} -gt 0 ]] || sizes=(15m 125m)
[[ -x $build/bin/step ]] ||
  { echo "compare_torch.sh: $build/bin/step is not there; build it, or name its folder by --build" >&2; exit 2; }
/usr/bin/python3 -c 'import torch' 2> /dev/null ||
  { echo "compare_torch.sh: PyTorch is not there; apt install python3-torch" >&2; exit 2; }

[[ $ranks -eq 1 ]] || threads=1
export OMP_NUM_THREADS=$threads OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export LD_LIBRARY_PATH=/usr/lib/$(uname -m)-linux-gnu/openblas-openmp
export MASTER_ADDR=127.0.0.1 MASTER_PORT=29511 GLOO_SOCKET_IFNAME=lo WORLD_SIZE=$ranks
ours() {
  local command=("$build/bin/step" "$1" 3 --json ${mode[@]+"${mode[@]}"})
  if [[ $ranks -eq 1 ]]; then "${command[@]}"; else mpirun -np "$ranks" "${command[@]}"; fi
}
theirs() {
  local command=(/usr/bin/python3 "$root/benchmarks/torch_llama.py" "$1" 3 ${their_mode[@]+"${their_mode[@]}"})
  if [[ $ranks -eq 1 ]]; then "${command[@]}"; return; fi
  for ((rank = 1; rank < ranks; ++rank)); do RANK=$rank "${command[@]}" --ddp & done
  RANK=0 "${command[@]}" --ddp
  wait
}

results=$(mktemp); trap 'rm -f "$results"' EXIT
for size in "${sizes[@]}"; do
  for ((turn = 0; turn < turns; ++turn)); do
    if ((turn % 2)); then theirs "$size"; ours "$size"; else ours "$size"; theirs "$size"; fi
  done
  if [[ $precision != fp32_bf16x3 && $ranks -eq 1 && -x $build/bin/onednn ]]; then
    "$build/bin/onednn" --json --only "$size " ${products[@]+"${products[@]}"}
  fi
done > "$results"
/usr/bin/python3 - "$results" "$threads" "$precision" "$ranks" <<'PYTHON'
import json, math, statistics, sys

lines = [json.loads(line) for line in open(sys.argv[1])]
threads, precision, ranks = int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
# Ours over PyTorch's: tokens a second at least, by (model, ranks, threads), and peak memory at most.
bars = {"fp32": {("15m", 1, 1): 1.55, ("15m", 1, 2): 1.75, ("125m", 1, 1): 1.3, ("125m", 1, 2): 1.6,
                 ("15m", 2, 1): 1.6, ("125m", 2, 1): 1.6},
        "fp32_bf16x3": {("15m", 1, 1): 2.5, ("125m", 1, 1): 2.0},
        "bf16": {("15m", 1, 1): 4.0, ("15m", 1, 2): 4.5, ("125m", 1, 1): 3.0, ("125m", 1, 2): 2.2,
                 ("15m", 2, 1): 4.0, ("125m", 2, 1): 3.0}}[precision]
most_memory = 0.75
least_share = {"fp32": 0.85, "bf16": 0.6}
missed = False

def products_rate(rows, layers):
    """GFLOP/s of a step's products by libraries, the faster for each; of bf16 with weights packed before."""
    flops = seconds = 0
    for row in rows:
        name = row["layer"].split()[-1]
        times = {"head": 2}.get(name, layers)
        flops += times * row["gflop"]
        rates = [row[key]["theirs"] for key in ("onednn", "openblas", "packed") if key in row]
        seconds += times * row["gflop"] / max(rates)
    return flops / seconds

pairs = sum(line["benchmark"] == "torch" for line in lines) // len({line["size"] for line in lines if "size" in line})
print(f"{ranks} ranks of {threads} threads, {precision}; medians of {pairs} pairs of runs")
print(f"{'model':6} {'ours tok/s':>11} {'torch tok/s':>12} {'ratio':>6} {'best':>6} {'bar':>5}   "
      f"{'ours MB':>8} {'torch MB':>9} {'ratio':>6}")
sizes = list(dict.fromkeys(line["size"] for line in lines if "size" in line))
for size in sizes:
    ours = [line for line in lines if line["benchmark"] == "step" and line["size"] == size]
    torch = [line for line in lines if line["benchmark"] == "torch" and line["size"] == size]
    speed = sorted(a["tokens_per_s"] / b["tokens_per_s"] for a, b in zip(ours, torch))
    best = speed[math.ceil(0.9 * len(speed)) - 1]
    memory = statistics.median(a["peak_mb"] / b["peak_mb"] for a, b in zip(ours, torch))
    bar = bars.get((size, ranks, threads))
    median = lambda rows, key: statistics.median(row[key] for row in rows)
    print(f"{size:6} {median(ours, 'tokens_per_s'):11.0f} {median(torch, 'tokens_per_s'):12.0f} "
          f"{statistics.median(speed):6.2f} {best:6.2f} {bar or '-':>5}   "
          f"{median(ours, 'peak_mb'):8.0f} {median(torch, 'peak_mb'):9.0f} {memory:6.2f}")
    missed |= bool(bar and statistics.median(speed) < bar) or memory > most_memory
for size, line in zip(sizes, (line for line in lines if line["benchmark"] == "onednn")):
    rate = products_rate(line["rows"], {"15m": 6, "125m": 12}[size])
    ours = statistics.median(x["gflop"] / x["ms"] * 1e3 for x in lines
                             if x["benchmark"] == "step" and x["size"] == size)
    print(f"{size:6} {ours:.0f} GFLOP/s of a step, {rate:.0f} of its products by libraries: {ours / rate:.2f}, "
          f"bar {least_share[precision]}")
    missed |= ours / rate < least_share[precision]
sys.exit(missed)
PYTHON
