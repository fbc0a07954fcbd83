#!/usr/bin/env bash
# The program as a user has it: trains a tiny Llama in every layout to the same losses, goes on after
# kill -9 and in other layouts, exports, generates, and answers bad input with one line and its exit code.
source "$(dirname "${BASH_SOURCE[0]}")/program.sh"

# ---- a text and a model ----------------------------------------------------------------------

sums 1500
cat > run.yaml <<'YAML'
name: run
trainer: {max_steps: 8, gradient_clip_val: 1.0}
exp_manager:
  exp_dir: runs
  resume_if_exists: true
  checkpoint_callback_params: {every_n_train_steps: 4, save_top_k: -1}
distributed_strategy: {tensor_model_parallel_size: 1, zero1: false}
data: {train_dir: text, micro_batch_size: 1, global_batch_size: 8, seq_length: 32}
YAML
small_llama 4 32 >> run.yaml

# train RANKS NAME [KEY=VALUE ...]: output in `log`. One rank is started directly.
train() {
  local ranks=$1 name=$2 start=(); shift 2
  [[ $ranks -eq 1 ]] || start=("$mpirun" "$ranks")
  timeout 60 "${start[@]}" "$program" train run.yaml name="$name" "$@" > log 2>&1
}
tp2=(distributed_strategy.{tensor_model_parallel_size=2,sequence_parallel=true})
pp2=(distributed_strategy.pipeline_model_parallel_size=2)

# same_losses A B [KEY [BOUND]]: runs A and B have told the same steps, 1, 2, 3 and so on, with the same
# losses (or what is told under KEY, at some of the steps) within 2e-6 of them, or BOUND.
same_losses() {
  local name key=${3:-loss} bound=${4:-2e-6}
  for name in "$1" "$2"; do
    sed -nE 's/.*"step": ?([0-9]+).*"'"$key"'": ?([^,}]+).*/\1 \2/p' "runs/$name/metrics.jsonl" > "$name.losses"
  done
  awk -v key="$key" -v bound="$bound" '
    NR == FNR { loss[$1] = $2; ++wanted; next }
    { ++steps; off = $2 - loss[$1]; if (off < 0) off = -off
      if ((key == "loss" && $1 != steps) || !($1 in loss) || !(off <= bound * loss[$1])) {
        print "step " $1 ": " loss[$1] " and " $2; bad = 1 } }
    END { exit bad || steps == 0 || steps != wanted }' "$1.losses" "$2.losses"
}

# ---- kill -9 in the middle, and on -------------------------------------------------------------

# The newest checkpoint of a run, and the steps that it has told. LATEST is gone for a moment in each save.
saved_step() { find "runs/$1/checkpoints" -maxdepth 1 -name 'step-*' 2> /dev/null | sed -nE 's/.*step-0*([0-9]+).*/\1/p' | sort -n | tail -1; }
told_steps() { wc -l 2> /dev/null < "runs/$1/metrics.jsonl" || echo 0; }
"$mpirun" 2 "$program" train run.yaml name=killed "${pp2[@]}" trainer.max_steps=100000 > log 2>&1 &
job=$!
for ((i = 0; i < 2000; ++i)); do
  [[ $(saved_step killed) -lt 4 || $(told_steps killed) -le 5 ]] || break
  kill -0 "$job" 2> /dev/null || die "the run that is to be killed has ended by itself"
  sleep 0.01
done
child() { cat /proc/[0-9]*/status 2> /dev/null | awk -v of="$1" '/^Pid:/ { pid = $2 } /^PPid:/ && $2 == of && !n++ { print pid }'; }
kill -9 "$(child "$(child "$job")")"
wait "$job" && fail "a job with a killed rank ends with status 0"
grep -Eq 'nxd: rank [01] at step [0-9]+.*: was told to end' log || fail "the rank that is left does not say where it was"
steps=$(( $(saved_step killed) + 4 ))
train 2 killed "${tp2[@]}" trainer.max_steps="$steps" || die "a killed run does not go on"
grep -q "resumed from .* at step" log || die "a killed run begins anew"

# ---- every layout, the same curve --------------------------------------------------------------

train 1 single trainer.max_steps="$steps" || die "one rank does not train"
same_losses single killed || fail "a run that was killed has other losses than one rank"
[[ $steps -ge 8 ]] || fail "a checkpoint comes too early"

mkdir -p runs/short && head -8 runs/single/metrics.jsonl > runs/short/metrics.jsonl
train 2 tp2 "${tp2[@]}" || die "TP 2 does not train"
same_losses short tp2 || fail "TP 2 with sequence parallelism has other losses than one rank"
train 2 dp2 distributed_strategy.zero1=true || die "DP 2 does not train"
same_losses short dp2 || fail "DP 2 with ZeRO-1 has other losses than one rank"
for kind in gpipe 1f1b interleaved zb-h1 zb-v; do
  train 2 "$kind" "${pp2[@]}" distributed_strategy.pipeline_schedule="$kind" || die "$kind does not train"
  same_losses short "$kind" || fail "PP 2 by $kind has other losses than one rank"
done

divided=(distributed_strategy.pipeline_layers={balanced,last,"1,3"} 'model.pipeline_cuts=[model.layers.0]')
for how in "${!divided[@]}"; do
  train 2 "divided$how" "${pp2[@]}" "${divided[how]}" || die "${divided[how]} does not train"
  same_losses short "divided$how" || fail "PP 2 with ${divided[how]} has other losses than one rank"
done
tied=(model.share_embeddings_and_output_weights=true trainer.val_check_interval=4 trainer.limit_val_batches=1
      data.splits_string=900,100,0)
train 1 tied "${tied[@]}" || die "a tied model does not train"
for kind in 1f1b zb-v; do
  train 2 "tied-$kind" "${pp2[@]}" "${tied[@]}" distributed_strategy.pipeline_schedule="$kind" ||
    die "a tied model does not train by $kind"
  same_losses tied "tied-$kind" || fail "a tied model has other losses by $kind than on one rank"
  same_losses tied "tied-$kind" val_loss || fail "a validation by $kind has another loss than on one rank"
done

# ---- on in another layout ------------------------------------------------------------------------

train 2 chain "${tp2[@]}" trainer.max_steps=3 || die "TP 2 does not train"
train 2 chain "${pp2[@]}" trainer.max_steps=5 || die "PP 2 does not go on where TP 2 ended"
train 1 chain || die "one rank does not go on where PP 2 ended"
same_losses short chain || fail "TP 2, then PP 2, then one rank have other losses than one rank"

train 2 shorter "${tp2[@]}" precision.type=mixed_precision trainer.max_steps=2 || die "TP 2 does not train in bf16"
train 2 shorter "${pp2[@]}" precision.type=bf16SR distributed_strategy.zero1=true trainer.max_steps=4 ||
  die "PP 2 in bf16 does not go on from masters"
train 1 shorter trainer.max_steps=6 || die "floats do not go on from bf16"
train 2 shorter precision.type=mixed_precisionSR distributed_strategy.zero1=true ||
  die "bf16 does not go on from floats"
same_losses short shorter loss 0.01 || fail "bf16 and floats in turn have other losses than floats"
same_losses short shorter > /dev/null && fail "bf16 has the losses of floats"

# ---- export, start from it, generate -------------------------------------------------------------

checkpoint=runs/tp2/checkpoints/$(cat runs/tp2/checkpoints/LATEST)
"$program" checkpoint export "$checkpoint" exported > log 2>&1 || die "a checkpoint is not exported"
weights=(trainer.max_steps=3 model.weight_init_only=true exp_manager.create_checkpoint_callback=false)
train 1 from_ours "${weights[@]}" exp_manager.resume_from_checkpoint="$checkpoint" ||
  die "weights of a checkpoint are not taken"
train 2 from_hf "${weights[@]}" "${pp2[@]}" exp_manager.resume_from_checkpoint=exported \
  model.model_config=exported || die "weights of a Hugging Face folder are not taken"
same_losses from_ours from_hf || fail "weights of the export are not those of the checkpoint"
mkdir -p runs/fresh && head -3 runs/short/metrics.jsonl > runs/fresh/metrics.jsonl
same_losses fresh from_ours > /dev/null && fail "weights of a checkpoint are not taken, but drawn anew"

write() { "$program" generate "$checkpoint" --prompt "3 plus 4" --max-tokens 30 --seed "$1" > "$2" 2>&1; }
write 7 text7 && write 7 again7 && write 8 text8 || fail "a checkpoint does not generate"
[[ $(head -c 8 text7) == "3 plus 4" ]] || fail "a text does not begin with its prompt"
cmp -s text7 again7 || fail "one seed has two texts"
! cmp -s text7 text8 || fail "two seeds have one text"

# ---- help ------------------------------------------------------------------------------------------

"$program" --version > log 2>&1 || die "--version"
grep -q "^nxd [0-9.]*$" log || die "--version does not say the version"
# helps [COMMAND...]: its help, and that of the commands below it
helps() {
  "$program" "$@" --help > log 2>&1 || die "$* --help"
  grep -q "^Usage: nxd" log || die "$* --help does not say the usage"
  local below
  for below in $(sed -n '/^Subcommands:/,/^$/s/^  \([a-z]*\) .*/\1/p' log); do helps "$@" "$below"; done
}
helps
"$program" train --help-keys > log 2>&1 && grep -q "pipeline_schedule" log || fail "--help-keys lists no keys"

# ---- bad input -------------------------------------------------------------------------------------

# refused RANKS CODE WORDS ARGUMENT...: the program ends soon, with that exit code and one line of its
# own, which has these words. Lines that mpirun adds do not begin with `nxd:`.
refused() {
  local ranks=$1 code=$2 words=$3 start=() status; shift 3
  [[ $ranks -eq 1 ]] || start=("$mpirun" "$ranks")
  timeout 20 "${start[@]}" "$program" "$@" > log 2>&1; status=$?
  [[ $status -eq $code ]] || fail "exit code $status, not $code: $*"
  [[ $(grep -c "^nxd:" log) -eq 1 ]] && grep "^nxd:" log | grep -qF -- "$words" ||
    { fail "not one line with '$words': $*"; sed 's/^/  | /' log; }
}
# ---- products by a table that was measured -----------------------------------------------------

"$program" bench --calibrate table.json > log 2>&1 && grep -q "below 512" log || die "no table of products"
grep -q onednn log && has_onednn=yes || has_onednn=no
NXD_GEMM_TABLE=table.json "$program" train run.yaml name=by_table trainer.max_steps=1 > log 2>&1 ||
  fail "a run does not go by its table"
sed 's/"processor":"/"processor":"x87 /' table.json > other.json
sed 's/nn, m below 64, n below 64, k below 64":"[a-z0-9]*"/nn, m below 64, n below 64, k below 64":"avx512"/
     s/nn, m below 64, n below 64, k below 512":"[a-z0-9]*"/nn, m below 64, n below 64, k below 512":"avx512"/' \
  table.json > table0.json
sed 's/"avx512"/"openblas"/g' table.json > table1.json
NXD_GEMM_TABLE=other.json refused 1 64 "x87" train run.yaml
sed 's/"openblas"/"onednn"/' table.json > foreign.json
[[ $has_onednn == yes ]] || NXD_GEMM_TABLE=foreign.json refused 1 64 "-D NXD_WITH_ONEDNN=ON" train run.yaml
NXD_GEMM_TABLE=nowhere.json refused 1 74 "nowhere.json" train run.yaml
timeout 20 "$mpirun" 2 bash -c 'NXD_GEMM_TABLE=table$OMPI_COMM_WORLD_RANK.json exec "$@"' - \
  "$program" train run.yaml name=bad > log 2>&1
[[ $? -eq 64 ]] && grep -q "rank 1 has another table of products (NXD_GEMM_TABLE) than rank 0" log ||
  { fail "ranks may go by unlike tables"; show log; }

cp -r "$checkpoint" torn
truncate -s -100 "$(find torn -name '*.safetensors' | head -1)"
cp -r "$checkpoint" changed
printf '#' | dd of="$(find changed -name '*.safetensors' | head -1)" bs=1 seek=5000 conv=notrunc 2> /dev/null
echo 'name: [' > broken.yaml
two_stages=(train run.yaml name=bad "${pp2[@]}")

refused 1 64 "did you mean train?" trian run.yaml
refused 1 64 "did you mean 1f1b?" schedule 1f2b --ranks 2 --microbatches 2
refused 1 64 "--ranks" schedule 1f1b --ranks 0 --microbatches 2
refused 1 64 "not expected: --fast" train run.yaml --fast
refused 1 64 "CHECKPOINT is required" generate
refused 1 64 "wants a configuration" train
refused 1 64 "broken.yaml" train broken.yaml
refused 1 74 "nowhere.yaml" train nowhere.yaml
refused 1 74 "nowhere" train run.yaml name=bad data.train_dir=nowhere
refused 1 74 "nowhere" generate nowhere
refused 1 65 "torn" generate torn
refused 1 65 "changed" train run.yaml name=bad exp_manager.resume_from_checkpoint=changed
refused 2 64 "did you mean model.num_layers?" train run.yaml model.num_layer=2
refused 2 65 "torn" train run.yaml name=bad exp_manager.resume_from_checkpoint=torn
refused 3 64 "start a multiple of 2 ranks" "${two_stages[@]}"
refused 2 64 "needs a layer" "${two_stages[@]}" model.num_layers=1
refused 2 64 "as many microbatches as ranks" "${two_stages[@]}" data.global_batch_size=1 \
  distributed_strategy.pipeline_schedule=interleaved
refused 2 64 "did you mean" schedule zbh1 --ranks 2 --microbatches 2
if [[ -w /dev/full ]]; then
  "$program" schedule 1f1b --ranks 2 --microbatches 2 > /dev/full 2> log
  [[ $? -eq 74 ]] || fail "a picture that cannot be written is no failure"
fi

passed
