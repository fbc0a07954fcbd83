#!/usr/bin/env bash
# Trains a small Llama on text of this machine, lets it write, and says how to go on.
#
#   examples/quickstart.sh [--layout LAYOUT] [--data PATH] [--steps N]
#
#   --layout LAYOUT  tp2: two ranks share each layer, with sequence parallelism (the default)
#                    dp2: two ranks share each batch, ZeRO-1
#                    pp2: two ranks have half of the layers each, in a 1F1B pipeline
#                    tp2dp2: four ranks, the first two of these
#                    single: one rank
#   --data PATH      a text file or a folder of them (/usr/include/boost)
#   --steps N        how many steps to train (as examples/quickstart.yaml says)
#   --help           this text
#
# Installs what is missing with apt, builds into build/release, writes to nxd_experiments.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
layout=tp2 data=/usr/include/boost steps=

usage_error() { echo "quickstart: $1; see examples/quickstart.sh --help" >&2; exit 64; }
while [[ $# -gt 0 ]]; do
  case $1 in
    --help | -h) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    --layout | --data | --steps)
      [[ $# -ge 2 ]] || usage_error "$1 needs a value"
      case $1 in
        --layout) layout=$2 ;;
        --data) data=$(realpath -m "$2") ;;
        --steps) [[ $2 =~ ^[1-9][0-9]*$ ]] || usage_error "--steps $2 is not a number of steps"
                 steps=$2 ;;
      esac
      shift ;;
    *) usage_error "unknown option $1" ;;
  esac
  shift
done

strategy=distributed_strategy micro=4
case $layout in
  tp2) ranks=2 tp=2 pp=1 ;;
  dp2) ranks=2 tp=1 pp=1 ;;
  pp2) ranks=2 tp=1 pp=2 micro=2 ;;  # more microbatches: a shorter bubble
  tp2dp2) ranks=4 tp=2 pp=1 ;;
  single) ranks=1 tp=1 pp=1 ;;
  *) usage_error "unknown layout $layout: tp2, dp2, pp2, tp2dp2, or single" ;;
esac
sequence_parallel=false
if [[ $tp -gt 1 ]]; then sequence_parallel=true; fi

cd "$root"
source cmake/packages.sh
install_packages "${packages_to_train[@]}"
[[ -e $data ]] || usage_error "--data $data: there is no such file or folder"

build=$root/build/release
program=$build/bin/nxd
mkdir -p "$build"
echo "Building $program"
if ! { configure release "$build" -D NXD_BUILD_TESTS=OFF -D NXD_BUILD_BENCHMARKS=OFF &&
       cmake --build "$build" --target nxd; } > "$build/quickstart.log" 2>&1; then
  tail -20 "$build/quickstart.log" >&2
  echo "quickstart: the program does not build; the compiler's output is in $build/quickstart.log" >&2
  exit 70
fi

allow_mpi_anywhere
cores=$(nproc)
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((cores > ranks ? cores / ranks : 1))}
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
mpirun=$(command -v mpirun.openmpi || command -v mpirun)
launch=("$mpirun" -np "$ranks" --bind-to none --oversubscribe --mca mpi_yield_when_idle 1)
if [[ $(id -u) -eq 0 ]]; then launch+=(--allow-run-as-root); fi
if [[ -z $steps ]]; then steps=$(awk '$1 == "max_steps:" { print $2; exit }' examples/quickstart.yaml); fi
train=("$program" train examples/quickstart.yaml "name=quickstart_$layout" "data.train_dir=$data"
       "$strategy.tensor_model_parallel_size=$tp" "$strategy.pipeline_model_parallel_size=$pp"
       "$strategy.sequence_parallel=$sequence_parallel" "data.micro_batch_size=$micro"
       "model.optim.sched.warmup_steps=$((steps / 10))")

if [[ -t 1 ]]; then export NXD_PROGRESS=bar; else export NXD_PROGRESS=lines; fi
echo "Training on $data, layout $layout: $ranks rank(s), tensor parallel $tp, pipeline parallel $pp"
"${launch[@]}" "${train[@]}" "trainer.max_steps=$steps"

checkpoints=nxd_experiments/quickstart_$layout/checkpoints
[[ -e $checkpoints/LATEST ]] || { echo "quickstart: the run has left no checkpoint" >&2; exit 74; }
checkpoint=$checkpoints/$(cat "$checkpoints/LATEST")

echo
echo "What it writes after \"#include <boost/\":"
"$program" generate "$checkpoint" --prompt "#include <boost/" --max-tokens 300
echo
echo "Checkpoint: $root/$checkpoint"
echo "To train on from it, for twice as long:"
resume=("${launch[@]}" "${train[@]}" "trainer.max_steps=$((2 * steps))"
        "exp_manager.resume_from_checkpoint=$checkpoint")
echo "  cd ${root@Q} && $(printf '%q ' "${resume[@]}")"
