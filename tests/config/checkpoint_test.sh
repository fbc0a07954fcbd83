#!/usr/bin/env bash
# `nxd checkpoint` as a user has it: lists, shows, verifies, compares, removes, imports and rewrites the
# checkpoints of a tiny Llama, and answers what is broken with one line that names it and an exit code.
source "$(dirname "${BASH_SOURCE[0]}")/program.sh"

# answers CODE WORDS ARGUMENT...: `nxd checkpoint` ends with that exit code and has told these words. If
# the code is an error's, its only line of its own has them.
answers() {
  local code=$1 words=$2 where=log status; shift 2
  timeout 20 "$program" checkpoint "$@" > log 2>&1; status=$?
  [[ $status -eq $code ]] || fail "exit code $status, not $code: $*"
  if [[ $code -ge 64 ]]; then
    grep "^nxd:" log > line; where=line
    [[ $(wc -l < line) -eq 1 ]] || fail "not one line: $*"
  fi
  grep -qF -- "$words" "$where" || { fail "'$words' is not told: $*"; sed 's/^/  | /;20q' log; }
}
told() { grep -qE -- "$1" log || { fail "'$1' is not told"; sed 's/^/  | /;20q' log; }; }

# ---- a run of two layouts ------------------------------------------------------------------------

sums 1500
cat > run.yaml <<'YAML'
name: run
trainer: {max_steps: 6}
exp_manager:
  exp_dir: runs
  resume_if_exists: true
  checkpoint_callback_params: {every_n_train_steps: 2, save_top_k: -1}
distributed_strategy: {tensor_model_parallel_size: 1, zero1: false}
data: {train_dir: text, micro_batch_size: 1, global_batch_size: 4, seq_length: 32}
YAML
small_llama 2 32 >> run.yaml
train() { timeout 60 "$program" train run.yaml "$@" > log 2>&1; }
timeout 60 "$mpirun" 2 "$program" train run.yaml distributed_strategy.tensor_model_parallel_size=2 \
  > log 2>&1 || die "TP 2 does not train"
saved=runs/run/checkpoints
step() { echo "$saved"/step-00000000000"$1".*; }

# ---- list and show -------------------------------------------------------------------------------

answers 0 "newest" list runs/run
told '^step-000000000006\.g000003 +6 +[0-9.]+ +[0-9.]+ +dp 1, pp 1, tp 2 +[0-9.]+ kB +[0-9]+ s +newest$'
[[ $(grep -c ^step- log) -eq 3 ]] || fail "a list has not all checkpoints"
answers 0 '"newest":true' list "$saved" --format json
answers 0 "written by  dp 1, pp 1, tp 2" show "$(step 4)"
told '^model  model\.layers\.1\.mlp\.down_proj\.weight +F32 +\[32, 64\] +2 '
answers 0 '"digest":' show runs/run --format json

# ---- verify --------------------------------------------------------------------------------------

answers 0 "sound: $(step 4): 5 files" verify "$(step 4)"
answers 0 "5 files by their XXH3-128" verify "$(step 4)"
answers 0 "sound: $(step 2)" verify runs/run
# xxhash_agrees CHECKPOINT: xxhsum says of each file what the manifest says
xxhash_agrees() {
  command -v xxhsum > /dev/null || return 0
  "$program" checkpoint show "$1" --format json | tr -d '\n' |
    grep -oE '"name":"[^"]+","size":[0-9]+,"xxh128":"[0-9a-f]+"' | sed -E 's/^"name":"([^"]+)".*"(.*)"$/\2  \1/' > sums
  [[ $(wc -l < sums) -gt 1 ]] && (cd "$1" && xxhsum --check "$work/sums") > log 2>&1 ||
    { fail "xxhsum finds other files in $1"; show log; }
}
xxhash_agrees "$(step 4)"
copy() { rm -rf bad; cp -r "$saved" bad; }
# flip FILE BYTE: changes a bit; a BYTE below 0 counts from the end.
flip() {
  local at=$2 byte
  [[ $at -ge 0 ]] || at=$(( $(stat -c %s "$1") + at ))
  byte=$(od -An -tu1 -j "$at" -N1 "$1")
  printf "\\x$(printf %x $(( byte ^ 16 )))" | dd of="$1" bs=1 seek="$at" conv=notrunc 2> log
}
entry=$(basename "$(step 6)")
copy; truncate -s -100 "bad/$entry/model/00001.safetensors"
answers 65 "model/00001.safetensors: has" verify "bad/$entry"
answers 0 "broken: bad/$entry/model/00001.safetensors: has" list bad
copy; flip "bad/$entry/model/00001.safetensors" -9
answers 65 "model/00001.safetensors: chunk 0, " verify "bad/$entry"
grep -qE "it has spoiled model tensor '[a-z0-9_.]+' \[[0-9:,]+\]$" line || fail "verify names no tensor"
answers 65 "it has spoiled" verify bad
told "^sound: $(step 4 | sed "s,$saved,bad,")"
copy; flip "bad/$entry/MANIFEST.json" 300
answers 65 "MANIFEST.json: is torn or changed" verify "bad/$entry"
answers 65 "MANIFEST.json: is torn or changed" show "bad/$entry"
copy; rm "bad/$entry/optim/00000.safetensors"
answers 65 "optim/00000.safetensors: is missing" verify "bad/$entry"
copy; rm "bad/$entry/MANIFEST.json"
answers 65 "MANIFEST.json: is missing" verify "bad/$entry"
answers 74 "no such checkpoint" verify nowhere
mkdir empty
answers 74 "has no checkpoint" verify empty
answers 0 "no checkpoints in empty" list empty

# ---- rewrite and compare -------------------------------------------------------------------------

answers 0 "digests as before" reshard "$(step 6)" resharded --shards 3
[[ $(find resharded -name '*.safetensors' | wc -l) -eq 6 ]] || fail "--shards 3 makes not 3 files of each kind"
xxhash_agrees resharded/step-*
answers 0 "digests as before" merge "$(step 6)" merged
[[ $(find merged -name '*.safetensors' | wc -l) -eq 2 ]] || fail "merge makes not one file of each kind"
for made in resharded merged; do
  answers 0 "equal: " diff "$made" runs/run
  answers 0 "sound: " verify "$made"
done
answers 74 "name a folder that has none" merge "$(step 6)" merged
answers 65 "chunk 0" merge "$(copy; flip "bad/$entry/model/00000.safetensors" -5; echo "bad/$entry")" torn
[[ -z $(find torn -name 'step-*' -o -name '.tmp-*') ]] || fail "a merge that fails leaves something"
answers 1 "state steps: 4 and 6" diff "$(step 4)" "$(step 6)"
told "^model tensor '[a-z0-9_.]+' \[[0-9,]+\]: -?[0-9.e-]+ and -?[0-9.e-]+$"
told "^different: [0-9]+ tensors of [0-9]+, and the state$"

# A run goes on from what was written anew, and has the same losses as one that did not stop.
train name=on trainer.max_steps=8 exp_manager.resume_from_checkpoint=resharded || die "a resharded checkpoint is not resumed from"
train trainer.max_steps=8 || die "the run does not go on"
loss() { sed -nE 's/.*"step": ?8,.*"loss": ?([^,}]+).*/\1/p' "runs/$1/metrics.jsonl"; }
[[ -n $(loss run) && $(loss run) == "$(loss on)" ]] || fail "a resharded checkpoint has other losses"

# ---- import --------------------------------------------------------------------------------------

answers 0 "wrote" export "$(step 6)" hf
answers 0 "weights alone" import hf ours
answers 0 "equal: " diff ours "$(step 6)" --weights
answers 1 "only in the second" diff ours "$(step 6)"
train name=tied trainer.max_steps=1 model.share_embeddings_and_output_weights=true || die "a tied model does not train"
answers 0 "wrote" export runs/tied tied
answers 0 "weights alone" import tied tied_again
answers 0 "equal: " diff tied_again runs/tied --weights
answers 0 "wrote" export "$(step 6)" bf16 --dtype BF16 --shard-size 50kB
[[ $(find bf16 -name 'model-0000?-of-0000?.safetensors' | wc -l) -ge 2 ]] || fail "--shard-size makes no shards"
answers 0 "weights alone" import bf16 halved
answers 0 "sound: " verify halved
answers 0 "  BF16  " show halved
answers 0 "wrote" export halved bf16_again
grep -q '"torch_dtype":"bfloat16"' bf16_again/config.json || fail "an export does not say its type"
answers 1 "has another shape or type" diff halved "$(step 6)" --weights
answers 0 "weights alone" import bf16 widened --dtype F32 --seq-length 32
answers 0 "  F32   " show widened
rm bf16/model-00002-of-*.safetensors
answers 65 "model-00002-of-" import bf16 lacking
weights=(trainer.max_steps=2 model.weight_init_only=true exp_manager.create_checkpoint_callback=false)
train name=halved "${weights[@]}" exp_manager.resume_from_checkpoint=halved || die "weights of an import are not taken"
train name=again "${weights[@]}" exp_manager.resume_from_checkpoint=widened || die "weights of an import are not taken"
cmp -s <(cut -d, -f2 runs/halved/metrics.jsonl) <(cut -d, -f2 runs/again/metrics.jsonl) ||
  fail "imports in bf16 and fp32 of one folder have other losses"
"$program" generate widened --prompt "3 plus" --max-tokens 4 > log 2>&1 && grep -q "^3 plus" log ||
  fail "an import does not generate"
train name=cold exp_manager.resume_from_checkpoint=ours && fail "weights alone are enough to go on from"
grep -q "^nxd: .*has no optim tensors at all" log || fail "it is not said that an import has weights alone"
sed 's/"num_hidden_layers":2/"num_hidden_layers":3/' hf/config.json > config.new && mv config.new hf/config.json
answers 64 "has no tensor 'model.layers.2.input_layernorm.weight', and lacks 8 more" import hf lacking
rm hf/config.json
answers 65 "config.json: is missing" import hf lacking
[[ ! -e lacking ]] || fail "an import that fails leaves something"

# ---- prune ---------------------------------------------------------------------------------------

answers 64 "--keep" prune runs/run --keep 0
answers 64 "--keep" prune runs/run
mkdir "$saved/.tmp-dead" "$saved/.trash-dead" && touch -d "3 hours ago" "$saved/.tmp-dead"
answers 0 "would remove $(step 2)" prune runs/run --keep 1 --every 4 --dry-run
[[ -d $(step 2) && -d $saved/.tmp-dead ]] || fail "a dry run removes"
copy; flip bad/step-000000000008.*/model/00000.safetensors -5
answers 0 "3 checkpoints stay" prune bad --keep 1 --every 4
[[ -d bad/$entry && ! -d bad/$(basename "$(step 2)") ]] || fail "the newest sound checkpoint is removed"
for file in bad/step-*/MANIFEST.json; do truncate -s 20 "$file"; done
answers 0 "3 checkpoints stay" prune bad --keep 1
answers 0 "2 checkpoints stay" prune runs/run --keep 1 --every 4
[[ -d $(step 4) && -d $(step 8) && ! -d $(step 6) ]] || fail "prune removes the wrong ones"
[[ ! -e $saved/.tmp-dead && ! -e $saved/.trash-dead ]] || fail "what dead jobs have left stays"
answers 0 "sound: $(step 8)" verify runs/run

# ---- nothing that can be loaded ------------------------------------------------------------------

for file in "$saved"/step-*/MANIFEST.json; do truncate -s 20 "$file"; done
train trainer.max_steps=10 && fail "a run whose checkpoints are all broken begins anew"
[[ $(grep -c "^nxd: .*none can be loaded" log) -eq 1 ]] || fail "it is not said that no checkpoint can be loaded"
answers 0 "put aside: " list runs/run
train trainer.max_steps=2 --allow-fresh-start || die "a fresh start is not allowed"
answers 0 "newest" list runs/run
told "put aside: "

passed
