#!/usr/bin/env bash
# `nxd plan` as a user has it: what it says of memory and messages is what `nxd train` then tells, to the
# byte; rules, machines and ranks that are wrong are told in one line each; a search names layouts that
# are legal, fit, and cost what it says.
source "$(dirname "${BASH_SOURCE[0]}")/program.sh"
source=${NXD_SOURCE_DIR:?names the folder of the sources}

sums 300
cat > run.yaml <<YAML
name: run
trainer: {max_steps: 3, gradient_clip_val: 1.0}
exp_manager: {exp_dir: runs, create_checkpoint_callback: false}
distributed_strategy: {tensor_model_parallel_size: 1, zero1: false}
data: {train_dir: $work/text, micro_batch_size: 1, global_batch_size: 4, seq_length: 16, splits_string: "1000,0,0"}
model:
  num_layers: 4
  hidden_size: 32
  ffn_hidden_size: 64
  num_attention_heads: 4
  num_kv_heads: 2
  optim: {name: adamw, lr: 1e-3}
YAML
d=distributed_strategy
tp=$d.tensor_model_parallel_size sp=$d.sequence_parallel=true zero1=$d.zero1=true
pp=$d.pipeline_model_parallel_size schedule=$d.pipeline_schedule layers=$d.pipeline_layers
recompute=model.activations_checkpoint_granularity batch=data.global_batch_size
saves=(exp_manager.create_checkpoint_callback=true exp_manager.async_checkpointing=true
       exp_manager.checkpoint_callback_params.every_n_train_steps=1)

# ---- what a plan says --------------------------------------------------------------------------

# places < PLAN: for each place of a plan, or for one rank: its rank, the bytes of its peak, those it sends
places() {
  awk '/"peak_bytes":/ { in_peak = 1 }
    in_peak && /"total":/ { gsub(/[^0-9]/, ""); peak = $0; in_peak = 0 }
    /^"rank":/ { gsub(/[^0-9]/, ""); rank = $0 }
    match($0, /"sent_bytes":[0-9]+/) {
      print rank, peak, substr($0, RSTART + 13, RLENGTH - 13) }'
}
# entry N < PLAN: all that a plan says of its place N, as it stands there
entry() {
  awk -v n="$1" 'BEGIN { RS = "\001" } {
    sub(/.*"places":\[/, ""); sub(/\],\n"ranks".*/, "")
    count = split($0, place, /\},\{"activations_per_microbatch"/)
    text = place[n + 1]
    if (n > 0) text = "{\"activations_per_microbatch\"" text
    if (n + 1 < count) text = text "}"
    print text }'
}
# most < PLAN: the bytes of the place that needs most
most() { places | awk '$2 > most { most = $2 } END { print most }'; }

# beside N COMMAND...: in the background, as soon as fewer than N are there
beside() {
  while [[ $(jobs -rp | wc -l) -ge $1 ]]; do wait -n; done
  "${@:2}" &
}
# exact RANKS NAME [KEY=VALUE ...]: what the first rank tells of each step of a run is what was planned.
# Two are under way at a time, each in a folder of its name.
exact() { beside 2 check_exact "$@"; }
check_exact() {
  local ranks=$1 name=$2 start=(); shift 2
  [[ $ranks -eq 1 ]] || start=("$mpirun" "$ranks")
  mkdir "$name" && cd "$name" || return
  "$program" plan ../run.yaml "$@" --ranks "$ranks" --format json > plan.json 2> log ||
    { fail "$name is not planned"; show log; return; }
  timeout 60 "${start[@]}" "$program" train ../run.yaml name="$name" "$@" > log 2>&1 ||
    { fail "$name does not train"; show log; return; }
  sed -nE 's/.*"peak_bytes":([0-9]+),"sent_bytes":([0-9]+).*/\1 \2/p' "runs/$name/metrics.jsonl" > steps
  [[ $(wc -l < steps) -eq 3 ]] || fail "$name has not told three steps"
  local planned; planned=$(places < plan.json | sed -n '1s/^0 //p')
  [[ -n $planned && $(sort -u steps) == "$planned" ]] ||
    { fail "$name: planned peak and sent bytes are $planned, told were"; show steps; }
}

exact 1 one
for n in 1 2 3 5 6 7 8; do exact 1 "batch-$n" $batch=$n; done
exact 1 micro-2 data.micro_batch_size=2 data.seq_length=70 $recompute=selective
exact 1 zero1 $zero1
exact 1 sgd model.optim.name=sgd
exact 1 momentum model.optim.name=sgd model.optim.momentum=0.9 trainer.gradient_clip_val=null
exact 1 tied model.share_embeddings_and_output_weights=true
exact 1 full $recompute=full
exact 1 smallest data.seq_length=1 model.num_layers=1 $batch=1

exact 1 saves "${saves[@]}"
exact 2 tp $tp=2
exact 2 tp-sp $tp=2 $sp
exact 2 tp-sp-selective $tp=2 $sp $recompute=selective $batch=8
exact 2 tp-uneven $tp=2 model.vocab_size=301 $recompute=full model.optim.name=sgd
exact 2 tp-copies $tp=2 model.num_kv_heads=1 $d.kv_replicator=2 $zero1
exact 2 dp
exact 2 dp-zero1 $zero1 data.micro_batch_size=2
exact 2 dp-zero1-uneven $zero1 model.vocab_size=301 model.share_embeddings_and_output_weights=true
for kind in gpipe 1f1b interleaved zb-h1 zb-v; do
  exact 2 "pp-$kind" $pp=2 $schedule=$kind
done
exact 2 pp-gpipe-full $pp=2 $schedule=gpipe $recompute=full $batch=6
exact 2 pp-zb-v-selective $pp=2 $schedule=zb-v $recompute=selective model.optim.name=sgd $batch=7
exact 2 pp-zb-h1-tied $pp=2 $schedule=zb-h1 model.share_embeddings_and_output_weights=true
exact 2 pp-chunks $pp=2 $schedule=interleaved $d.virtual_pipeline_model_parallel_size=3 model.num_layers=7
exact 2 pp-counts $pp=2 $layers=3,1
exact 2 pp-last $pp=2 $layers=last model.num_layers=5 $batch=1
exact 2 pp-balanced $pp=2 $layers=balanced model.vocab_size=999
exact 2 pp-cuts $pp=2 'model.pipeline_cuts=[model.layers.0]' $recompute=selective

exact 4 tp-pp $tp=2 $sp $pp=2
exact 4 tp-pp-zb-v $tp=2 $pp=2 $schedule=zb-v $recompute=full
exact 4 dp-pp $pp=2 $zero1 $schedule=zb-h1 $batch=8
exact 4 dp-tp $tp=2 $sp $zero1
exact 4 dp-tp-saves $tp=2 $sp $zero1 "${saves[@]}" model.num_kv_heads=1 $d.kv_replicator=2
exact 4 dp-pp-saves $pp=2 $schedule=zb-v "${saves[@]}" model.vocab_size=301
bf16=precision.type=mixed_precision
exact 1 bf16 $bf16 $batch=6
exact 1 bf16-by-chance precision.type=bf16SR $recompute=selective
exact 1 bf16-manual precision.type=manual precision.xla_use_bf16=1 precision.master_weights=true
exact 1 autocast precision.type=autocast $recompute=full
exact 2 autocast-pp precision.type=autocast $pp=2 $tp=1 $schedule=zb-h1 $zero1
exact 2 bf16-tp $bf16 $tp=2 $sp
exact 2 bf16-dp-zero1 $bf16 $zero1 model.vocab_size=301
exact 2 bf16-pp precision.type=mixed_precisionSR $pp=2 $schedule=zb-v $zero1
early=model.optim.overlap_grad_sync=true
gathers=model.optim.overlap_param_sync=true
exact 2 early $zero1 $early $gathers model.vocab_size=301 model.share_embeddings_and_output_weights=true
exact 4 early-tp $tp=2 $sp $early $recompute=full $batch=8
exact 4 early-pp $pp=2 $zero1 $early $gathers $schedule=interleaved $batch=8
exact 2 early-bf16 $bf16 $zero1 $early $gathers
exact 2 early-gathers $zero1 $gathers
beside=$d.tp_comm_overlap=true
exact 2 beside $tp=2 $beside $recompute=full $batch=2
exact 4 beside-dp $tp=2 $sp $beside $early $zero1 model.num_kv_heads=1 $d.kv_replicator=2
exact 2 beside-bf16 $bf16 $tp=2 $sp $beside
rows=($beside model.num_layers=2 model.hidden_size=256 model.ffn_hidden_size=512 data.seq_length=256)
exact 2 beside-rows $tp=2 "${rows[@]}" model.share_embeddings_and_output_weights=true
exact 4 beside-rows-dp $tp=2 $sp "${rows[@]}" $zero1 $recompute=full
exact 4 beside-rows-pp $tp=2 $sp "${rows[@]}" $pp=2 $schedule=zb-h1
exact 2 beside-rows-autocast precision.type=autocast $tp=2 $sp "${rows[@]}"
exact 2 bf16-dp-saves $bf16 $zero1 "${saves[@]}"
wait
[[ $(places < one/plan.json | cut -d' ' -f2) -gt 500000 ]] || fail "a plan of one rank says no memory"
[[ -e failures ]] || echo "$(cat */runs/*/metrics.jsonl | wc -l) steps of $(ls -d */runs | wc -l) runs were as planned, to the byte"

# ---- one rank, and no data ---------------------------------------------------------------------

wide=($tp=2 $sp $pp=2 $zero1 $schedule=zb-v $batch=8 model.vocab_size=301)
"$program" plan run.yaml "${wide[@]}" --ranks 8 --format json > whole.json || fail "8 ranks are not planned"
for place in 0 1; do
  entry $place < whole.json > place.json
  [[ $(wc -l < place.json) -gt 20 ]] || fail "a plan says nothing of its place $place"
  "$program" plan run.yaml "${wide[@]}" --ranks 8 --rank $((4 * place)) > rank.json
  cmp -s place.json rank.json || fail "--rank $((4 * place)) is not what the whole plan says of it"
  # What is left over of a weight is another rank's, and takes it other time; bytes are those of all.
  "$program" plan run.yaml "${wide[@]}" --ranks 8 --rank $((4 * place + 3)) > rank.json
  cmp -s <(grep -v '"rank"\|_seconds"' place.json) <(grep -v '"rank"\|_seconds"' rank.json) ||
    fail "--rank $((4 * place + 3)) costs other bytes than the first of its place"
done
"$program" plan run.yaml "${wide[@]}" --ranks 8 data.train_dir=nowhere --format json > other.json
cmp -s whole.json other.json || fail "a plan without its data is another"
"$program" plan run.yaml "${wide[@]}" --ranks 8 --check data.train_dir=nowhere > log 2>&1 ||
  fail "a configuration without its data is not legal"

OMPI_MCA_orte_tmpdir_base=/nowhere "$program" plan run.yaml "${wide[@]}" --ranks 8 --format json > other.json
cmp -s whole.json other.json || fail "a plan wants MPI"

# ---- legality ----------------------------------------------------------------------------------

"$program" plan run.yaml $tp=2 --ranks 4 --check > log || fail "a legal configuration is not legal"
[[ $(cat log) == "legal: run on 4 ranks: DP 2, TP 2, 2 microbatches" ]] || { fail "--check says other than what is legal"; show log; }

# illegal WORDS... -- ARGUMENT...: --check says a line of its own for each of the words, and no other
illegal() {
  local words=() status; while [[ $1 != -- ]]; do words+=("$1"); shift; done; shift
  timeout 20 "$program" plan run.yaml --check "$@" > log 2>&1; status=$?
  [[ $status -eq 64 ]] || { fail "exit code $status, not 64: --check $*"; show log; }
  local word; for word in "${words[@]}"; do
    [[ $(grep -cF -- "$word" log) -eq 1 ]] || { fail "not one line with '$word': --check $*"; show log; }
  done
  [[ $(wc -l < log) -eq ${#words[@]} ]] || { fail "not ${#words[@]} lines: --check $*"; show log; }
}
"$program" plan run.yaml $batch=1 --check > log; [[ $(cat log) == "legal: run on 1 rank: DP 1, TP 1, 1 microbatch" ]] ||
  { fail "one rank is counted as several"; show log; }
illegal "multiple of 2 ranks" -- $tp=2 --ranks 3
illegal "model.num_attention_heads" "model.num_kv_heads" "model.ffn_hidden_size" "multiple of 3 ranks" -- \
  $tp=3 model.num_kv_heads=4 --ranks 4
illegal "needs a layer" -- $pp=2 model.num_layers=1
illegal "data.global_batch_size" -- --ranks 3
illegal "as many microbatches as ranks" -- $pp=2 $schedule=interleaved $batch=1
illegal "pipeline_layers" -- $pp=2 $layers=1,2,1
illegal "pipeline_cuts" -- $pp=2 'model.pipeline_cuts=[model.layers.9]'
illegal "model.optim.overlap_param_sync" -- $gathers --ranks 2
illegal "did you mean" -- $tp=2 model.num_layer=3

# ---- wrong options -----------------------------------------------------------------------------

# refused CODE WORDS ARGUMENT...: the program ends with that exit code and one line, which has these words
refused() {
  local code=$1 words=$2 status; shift 2
  timeout 20 "$program" plan "$@" > log 2>&1; status=$?
  [[ $status -eq $code ]] || fail "exit code $status, not $code: plan $*"
  [[ $(grep -c "^nxd:" log) -eq 1 ]] && grep "^nxd:" log | grep -qF -- "$words" ||
    { fail "not one line with '$words': plan $*"; show log; }
}
refused 64 "wants a configuration"
refused 74 "nowhere.yaml" nowhere.yaml
refused 64 "multiple of 2 ranks" run.yaml $tp=2 --ranks 3
refused 64 "--ranks" run.yaml --ranks 0
refused 64 "the ranks are 0 to 1" run.yaml --ranks 2 --rank 2
refused 64 "--rank" run.yaml --ranks 2 --rank -1
refused 64 "--format" run.yaml --format yaml
refused 64 "--memory" run.yaml --search --memory much
refused 64 "--memory" run.yaml --search --memory -5
refused 64 "--search" run.yaml --memory 1GB
refused 64 "--search" run.yaml --search --check
refused 64 "--rank" run.yaml --search --rank 0
refused 64 "--search prints text or json" run.yaml --search --format trace
refused 64 "not expected: --fast" run.yaml --fast
refused 64 "it can be 2147483647 at most" run.yaml model.vocab_size=9223372036854775807
refused 64 "more than can be counted" run.yaml data.seq_length=9223372036854775807
refused 64 "more than can be counted" "$source/examples/plans/llama31_405b.yaml" $tp=1 $pp=1 $d.sequence_parallel=false
refused 64 "ranks; lower them" run.yaml $tp=2097152 $pp=8192 model.num_layers=8192 model.num_attention_heads=2097152 \
  model.num_kv_heads=2097152 model.ffn_hidden_size=2097152 model.kv_channels=2
refused 74 "nowhere.json" run.yaml --machine nowhere.json
refused 64 "did you mean model.num_layers?" run.yaml model.num_layer=2

# ---- a machine of one's own --------------------------------------------------------------------

timeout 60 "$program" plan --calibrate machine.json > log 2>&1 || { fail "a machine is not measured"; show log; }
"$program" plan run.yaml --machine machine.json --format json > measured.json || fail "a measured machine is not taken"
grep -q '^"machine":"measured on 1 ranks' measured.json || fail "a plan does not say what it was planned with"
head -c 500 machine.json > torn.json
refused 65 "torn.json" run.yaml --machine torn.json
sed 's/"adamw":[^,]*/"adamw":-1/' machine.json > negative.json
refused 65 "kernel_element: adamw: is not a number that is not negative" run.yaml --machine negative.json
sed 's/"peak_flops_of_a_rank":[^,]*/"peak_flops_of_a_rank":0/' machine.json > idle.json
refused 65 "peak_flops_of_a_rank: is not a number above 0" run.yaml --machine idle.json
sed 's/"kernel_call":[^,]*/"kernel_call":0.5/' machine.json > slow.json
"$program" plan run.yaml --machine slow.json --format json > slow-plan.json
awk -F'[:,]' 'FNR == 1 { ++file } /^"seconds"/ { s[file] = $2 } END { exit !(s[2] > 100 * s[1]) }' \
  measured.json slow-plan.json || fail "a machine with slow kernels is as fast as one without"

# ---- large jobs, soon --------------------------------------------------------------------------

# soon RANKS FILE BYTES: it answers within three seconds, whatever else this machine does; BYTES is what
# the weights of rank 0 need, by hand
soon() {
  local begin=${EPOCHREALTIME/[.,]/} took
  "$program" plan "$source/examples/plans/$2.yaml" --ranks "$1" --format json > "$2.json" || fail "$2 is not planned"
  took=$(( (${EPOCHREALTIME/[.,]/} - begin) / 1000 ))
  echo "$2 on $1 ranks answers in $took ms"
  [[ $took -lt 3000 ]] || fail "$2 on $1 ranks takes $took ms"
  local weights; weights=$(awk -F'[:,]' '/"peak_bytes"/ { peak = 1 } peak && /^"parameters"/ { print $2; exit }' "$2.json")
  awk -v w="$weights" -v by_hand="$3" 'BEGIN { exit !(w >= by_hand && w < 1.001 * by_hand) }' ||
    fail "$2: the weights of rank 0 are $weights bytes, by hand $3"
}
# An eighth of 10 layers and of the embedding: q, k, v, o, then gate, up, down; norms are whole.
h=8192 f=28672 v=128256
soon 256 llama3_70b $(( 4 * (10 * ((2 * h * h + 2 * h * h / 8 + 3 * h * f) / 8 + 2 * h) + v * h / 8) ))
h=16384 f=53248
soon 4096 llama31_405b $(( 4 * (7 * ((2 * h * h + 2 * h * h / 16 + 3 * h * f) / 8 + 2 * h) + v * h / 8) ))

# ---- the search --------------------------------------------------------------------------------

# points < SEARCH: for each layout of the Pareto set its seconds, its bytes and its overrides
points() {
  awk '/"pareto":/ { on = 1 } /"rejected":\[/ { on = 0 } !on { next }
    match($0, /"bytes":[0-9]+/) { bytes = substr($0, RSTART + 8, RLENGTH - 8) }
    /^"overrides":/ { sub(/^"overrides":"/, ""); sub(/",$/, ""); overrides = $0 }
    /^"seconds":/ { sub(/^"seconds":/, ""); sub(/,$/, ""); print $0, bytes, overrides }'
}
# check_point N RANKS MOST SECONDS BYTES KEY=VALUE ...: a layout that was found, with what was said of it
check_point() {
  local n=$1 ranks=$2 limit=$3 seconds=$4 bytes=$5; shift 5
  "$program" plan run.yaml "$@" --ranks "$ranks" --check > "log-$n" 2>&1 ||
    { fail "a layout that the search found is illegal: $*"; show "log-$n"; }
  "$program" plan run.yaml "$@" --ranks "$ranks" --format json > "plan-$n.json"
  [[ $(most < "plan-$n.json") -eq $bytes ]] ||
    fail "the search says $bytes bytes, the plan $(most < "plan-$n.json"): $*"
  [[ $(sed -n 's/^"seconds":\(.*\),$/\1/p' "plan-$n.json") == "$seconds" ]] ||
    fail "the search says $seconds s, the plan other: $*"
  [[ $bytes -le $limit ]] || fail "the search says $bytes bytes fit in $limit: $*"
}
# searched RANKS MOST [KEY=VALUE ...]: every point is legal, fits, costs what was said, and has its use
searched() {
  local ranks=$1 limit=$2 found=0 point; shift 2
  "$program" plan run.yaml "$@" --search --ranks "$ranks" --memory "$limit" --format json > search.json 2> log ||
    { fail "--search on $ranks ranks $*"; show log; }
  points < search.json > points
  while read -ra point; do
    beside 4 check_point $((++found)) "$ranks" "$limit" "${point[@]}" "$@" < /dev/null
  done < points
  wait
  [[ $found -gt 1 ]] || fail "the search on $ranks ranks finds $found layouts"
  awk '{ s[NR] = $1; b[NR] = $2 }
    END { for (i = 1; i <= NR; ++i) for (j = 1; j <= NR; ++j)
      if (i != j && s[i] <= s[j] && b[i] <= b[j]) { print "point " j " is not better than " i; exit 1 } }' points ||
    fail "the search on $ranks ranks has points that others dominate"
}
# thought_of RANKS MOST KEY=VALUE ...: a layout of one's own that fits is not better than all that was found
thought_of() {
  local ranks=$1 limit=$2; shift 2
  "$program" plan run.yaml "$@" --ranks "$ranks" --format json > plan.json || fail "$* is not planned"
  awk -v bytes="$(most < plan.json)" -v seconds="$(sed -n 's/^"seconds":\(.*\),$/\1/p' plan.json)" -v most="$limit" '
    $2 <= bytes && $1 < 1.03 * seconds { matched = 1 }
    END { exit !(matched || bytes > most) }' points || fail "the search on $ranks ranks has overlooked $*"
}
unlimited=$((1 << 62))
searched 4 $unlimited
grep -q '"rejected":"' search.json || fail "nothing is illegal on 4 ranks"
thought_of 4 $unlimited $zero1 $recompute=full
thought_of 4 $unlimited $tp=4 $sp $d.kv_replicator=2 $recompute=full
thought_of 4 $unlimited $pp=4 $recompute=full

# Many microbatches, of which some schedules keep all, on stages that are not alike.
many=($batch=24 model.num_layers=5)
searched 2 $unlimited "${many[@]}"
cp points all
limit=$(awk '{ print $2 }' all | sort -n | sed -n "$(( ($(wc -l < all) + 1) / 2 ))p")
searched 2 "$limit" "${many[@]}"
grep -q '"rejected":"needs [0-9]* MiB on a rank, of' search.json || fail "a layout that does not fit has no reason"
[[ $(awk -v most="$limit" '$2 <= most' all) == "$(cat points)" ]] ||
  { fail "with less memory the search finds other layouts than those that fit"; show all; show points; }
for kind in gpipe 1f1b interleaved zb-h1 zb-v; do
  thought_of 2 "$limit" "${many[@]}" $pp=2 $layers=balanced $schedule=$kind
  thought_of 2 "$limit" "${many[@]}" $pp=2 $layers=balanced $schedule=$kind $recompute=selective
done
"$program" plan run.yaml --search --ranks 2 --memory 1KB > log 2>&1
[[ $? -eq 64 ]] && grep -q "^nxd: no layout of 2 ranks is legal and fits" log || { fail "a search finds a layout of 1 KB"; show log; }
"$program" plan run.yaml "${many[@]}" --search --ranks 2 > log
grep -q "^the fastest: $(head -1 all | cut -d' ' -f3-)$" log || { fail "the text of a search has another fastest layout"; show log; }

passed
