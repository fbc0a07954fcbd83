#!/usr/bin/env bash
# Traces of real runs: what every rank did is there once, nests, and counts from one moment; the plan
# is looked at beside it, and what is no trace of the run is refused with one line and its exit code.
source "$(dirname "${BASH_SOURCE[0]}")/program.sh"

sums 1500
cat > run.yaml <<'YAML'
name: run
trainer: {max_steps: 8, val_check_interval: 4, limit_val_batches: 1, num_sanity_val_steps: 1}
exp_manager:
  exp_dir: runs
  checkpoint_callback_params: {every_n_train_steps: 4}
distributed_strategy: {zero1: false}
data:
  train_dir: text
  micro_batch_size: 1
  global_batch_size: 4
  seq_length: 32
  splits_string: "900,100,0"
model:
  num_layers: 4
  hidden_size: 64
  ffn_hidden_size: 128
  num_attention_heads: 4
  optim: {lr: 1e-3}
YAML
tp2=(distributed_strategy.{tensor_model_parallel_size=2,sequence_parallel=true})
pp2=(distributed_strategy.pipeline_model_parallel_size=2)

# train NAME [ARGUMENT ...]: on two ranks; the trace, if any, goes to the folder NAME
train() {
  local name=$1; shift
  timeout 60 "$mpirun" 2 "$program" train run.yaml name="$name" "$@" > log 2>&1
}
plan() { "$program" plan run.yaml --ranks 2 "$@" > log 2>&1; }

# ---- what is in a trace ----------------------------------------------------------------------------

# events FILE: a line for each event: its rank, depth, category (without spaces), start and finish in ns, name,
# step, and the categories around it. Events that overlap without nesting end it with a complaint.
events() {
  awk -v file="$1" '
    function field(key,    at) {
      at = index($0, "\"" key "\": "); if (!at) return ""
      at = substr($0, at + length(key) + 4)
      if (substr(at, 1, 1) == "\"") { at = substr(at, 2); return substr(at, 1, index(at, "\"") - 1) }
      sub(/[,}].*/, "", at); return at
    }
    function ns(us) { return sprintf("%.0f", us * 1000) + 0 }
    /"ph": "X"/ {
      if (field("pid") != rank) { rank = field("pid"); depth = 0; last = -1e18 }
      start = ns(field("ts")); finish = start + ns(field("dur")); name = field("name")
      while (depth > 0 && ends[depth] <= start) --depth
      if (depth > 0 && finish > ends[depth]) { print file ": " name " overlaps " names[depth] > "/dev/stderr"; bad = 1 }
      if (start < last) { print file ": " name " is out of order" > "/dev/stderr"; bad = 1 }
      last = start; around = ""
      for (i = 1; i <= depth; ++i) around = around "/" cats[i]
      ++depth; ends[depth] = finish; names[depth] = name
      cats[depth] = field("cat"); gsub(/ /, "_", cats[depth]); gsub(/ /, "_", name)
      if (depth == 1) step = name
      printf "%d %d %s %.0f %.0f %s %s %s/\n", field("pid"), depth, cats[depth], start, finish, name, step, around
    }
    END { exit bad }' "$1"
}

# actions FILE RANK: the actions of its steps, a line a step; those of a validation on a line of their own
actions() {
  awk '$3 ~ /forward|backward|gradient/ {
         key = $7 ($8 ~ /validation/ ? " validation" : "")
         if (!(key in all)) order[++n] = key
         all[key] = all[key] " " $6 }
       END { for (i = 1; i <= n; ++i) print order[i] ":" all[order[i]] }' "$1"
}

# scheduled KIND RANK [--evaluation]: the same from the schedule
scheduled() {
  local kind=$1 rank=$2; shift 2
  "$program" schedule "$kind" --ranks "${ranks:-2}" --microbatches 4 --format json "$@" |
    sed 's/\], "bubble.*//; s/{"ranks": \[//' | tr -d '",[' | awk -v RS=']' -v n="$rank" \
      'NR == n + 1 { sub(/^ +/, ""); print " " $0 }'
}

# check NAME KIND STEPS VALIDATED: the traces in NAME have these steps, a validation and a save in one of them,
# and all actions of the schedule in its order
check() {
  local name=$1 kind=$2 steps=$3 validated=$4 rank step stage
  for rank in 0 1; do
    local file=$name/rank-0000$rank.json
    events "$file" > "$name.$rank" || { fail "$name: events of rank $rank overlap"; continue; }
    grep -q "\"name\": \"rank $rank\"" "$file" || fail "$name: rank $rank is not named"
    [[ $(awk '$3 == "step" { printf "%s ", $6 }' "$name.$rank") == "$steps " ]] ||
      fail "$name: rank $rank has not the steps $steps"
    awk -v rank="$rank" '$1 != rank || $4 < 0 || $5 < $4 || ($2 == 1) != ($3 == "step") { exit 1 }' "$name.$rank" ||
      fail "$name: rank $rank has an event of another rank, before the start, or outside the steps"
    stage=$rank; [[ ${ranks:-2} -eq 2 ]] || stage=0
    for step in $steps; do
      echo "$step:$(scheduled "$kind" "$stage")"
      [[ $step != "$validated" ]] || echo "$step validation:$(scheduled "$kind" "$stage" --evaluation)"
    done > wanted
    actions "$name.$rank" | cmp -s - wanted || { fail "$name: rank $rank has other actions than its schedule"; actions "$name.$rank" | diff - wanted; }
    awk -v step="$validated" '
      { ++n[$3] } $3 == "validation" || $3 == "save" { if ($7 != step || $8 != "/step/") exit 1 }
      $3 == "optimizer" && $8 != "/step/" { exit 1 }
      END { exit !(n["validation"] == 1 && n["save"] == 1 && n["exchange"] > 0 && n["data"] == n["step"] && n["optimizer"] == n["step"]) }' \
      "$name.$rank" || fail "$name: rank $rank has not one optimizer and data a step, and one validation and save"
  done
}

# together NAME PAIRS: what cannot begin on one rank before it has ended on the other does not, but for 5 ms: a
# forward pass on rank 0 and then on rank 1, a backward pass the other way, an exchange either way. PAIRS: an
# awk expression for what two such events have in common; empty if there is no other
together() {
  awk -v name="$1" '
    { key = '"$2"'; if (key == "") next }
    FNR == NR { start[key] = $4; finish[key] = $5; next }
    !(key in start) { next }
    { ++n; a = start[key] - $5; b = $4 - finish[key]; late = $3 == "forward" ? a : $3 == "backward" ? b : a > b ? a : b; if (late > worst) worst = late }
    END { if (!n || worst > 5e6) { print name ": " n + 0 " pairs, the worst " worst / 1e6 " ms apart"; exit 1 } }' \
    "$1.0" "$1.1" || fail "$1: the ranks count from moments apart"
}

train pp2 "${pp2[@]}" --trace pp2 || die "PP 2 does not train with a trace"
check pp2 1f1b "step_1 step_2 step_3 step_4 step_5" step_4
together pp2 '$3 ~ /forward|backward/ && $8 !~ /validation/ ? $7 $6 : ""'
[[ $(grep -c '"cat": "wait"' pp2/rank-00001.json) -ge 20 ]] || fail "pp2: nobody waits for a message"

train tp2 "${tp2[@]}" --trace deep/er --trace-steps 7:100 || die "TP 2 does not train with a trace"
mv deep/er tp2
ranks=1 check tp2 1f1b "step_7 step_8" step_8
together tp2 '$6 == "all_gather" || $6 == "reduce_scatter" ? $7 " " (++count[FILENAME, $7]) : ""'

# A sum over tensor ranks begins, gradients of weights are made beside it, and then it is waited for: in two halves
# of four layers, and at the head, for each of four microbatches.
train beside "${tp2[@]}" distributed_strategy.tp_comm_overlap=true --trace beside --trace-steps 7:8 ||
  die "TP 2 does not train with sums beside products"
ranks=1 check beside 1f1b "step_7 step_8" step_8
awk '$7 != "step_7" { next }
     $3 == "beside" { ++n; if (was != "exchange" || $8 !~ /backward/) exit 1 }
     $3 == "wait" { ++waits; if (was != "beside" || $6 != "reduce_scatter") exit 1 }
     $6 == "reduce_scatter" || $3 == "beside" { was = $3 }
     END { exit !(n == 36 && waits == 36) }' beside.1 || fail "gradients of weights are not made beside sums"

# Rows travel while products are made: into the first products of a layer's two halves, out of the last one, and
# into the gradient of what that one takes.
train rows "${tp2[@]}" distributed_strategy.tp_comm_overlap=true model.{hidden_size=256,ffn_hidden_size=512} \
  data.seq_length=256 --trace rows --trace-steps 7:8 || die "TP 2 does not train with rows that travel beside products"
ranks=1 check rows 1f1b "step_7 step_8" step_8
awk '$7 == "step_7" && $3 == "beside" && $6 == "product" { ++n[$8 ~ /backward/] }
     END { exit !(n[0] == 4 * 4 * 4 && n[1] == 2 * 4 * 4) }' rows.1 || fail "rows do not travel beside products"

split=("${pp2[@]}" distributed_strategy.pipeline_schedule=zb-h1)
train split "${split[@]}" --trace split --trace-steps 4:4 || die "ZB-H1 does not train with a trace"
check split zb-h1 step_4 step_4

# ---- the plan beside it ----------------------------------------------------------------------------

plan "${pp2[@]}" --format trace && cp log plan.json || die "a plan has no trace"
events plan.json > plan.0 || fail "actions of a plan overlap"
for place in 0 1; do
  awk -v pid=$((2 + place)) '$1 == pid' plan.0 > place
  [[ $(actions place) == "step:$(scheduled 1f1b $place)" ]] || fail "a plan has other actions than its schedule"
  [[ $(tail -1 place | cut -d' ' -f3) == optimizer ]] || fail "a plan does not end with the optimizer"
done

# compared ROWS ARGUMENT...: the table has these rows, each with a time that is foretold and one that is measured
compared() {
  local rows=$1; shift
  plan "$@" || die "a plan is not compared: $*"
  [[ $(awk '/^  [0-9]/ { r = r (r ? " " : "") $1 ":" (NF == 7 ? $2 "_" $3 : $2); if (!($(NF-1) > 0) || !($(NF-2) >= 0)) exit }
            END { print r }' log) == "$rows" ]] || { fail "another table: $*"; sed 's/^/  | /' log; }
}
row() { local of=$1 kind; shift; for kind; do printf '%s ' "$of:$kind"; done; }
busy=(forward backward optimizer exchange)
compared "$(row 0 "${busy[@]}" wait step)$(row 1 "${busy[@]}" wait step | sed 's/ $//')" "${pp2[@]}" --compare pp2
compared "$(row 0-1 "${busy[@]}" step | sed 's/ $//')" "${tp2[@]}" --compare tp2
grep -q "of step 8, ms" log || fail "the first of two steps is not left out"
compared "$(row 0-1 "${busy[@]}" wait step | sed 's/ $//')" "${tp2[@]}" --compare beside
split_rows=(forward input_gradient weight_gradient optimizer exchange wait step)
compared "$(row 0 "${split_rows[@]}")$(row 1 "${split_rows[@]}" | sed 's/ $//')" "${split[@]}" --compare split
plan "${pp2[@]}" --compare pp2 --format json && grep -q '"ratio":[0-9]' log || die "no comparison in JSON"

# The table says what the trace says: the mean of the forward passes of steps 2 to 5, without waits.
plan "${pp2[@]}" --compare pp2 || die "a plan is not compared"
awk 'FNR == NR { if ($7 == "step_1" || $8 ~ /validation/) next
                 if ($3 == "forward") { sum += $5 - $4; ++n }
                 if ($3 == "wait" && $8 ~ /forward/) sum -= $5 - $4; next }
     $1 == 1 && $2 == "forward" { off = $5 - sum / n / 1e6; seen = $3 == n && off * off < 1e-6 * $5 * $5 }
     END { exit !seen }' pp2.1 log || fail "the table has another mean than the trace"

# ---- what cannot be traced or compared ---------------------------------------------------------------

# refused RANKS CODE WORDS ARGUMENT...: one line with these words, that exit code, and no step is trained
refused() {
  local n=$1 code=$2 words=$3 start=() status; shift 3
  [[ $n -eq 1 ]] || start=("$mpirun" "$n")
  timeout 20 "${start[@]}" "$program" "$@" > log 2>&1; status=$?
  [[ $status -eq $code ]] || fail "exit code $status, not $code: $*"
  ! grep -q "^step 1/" log || fail "a step is trained first: $*"
  [[ $(grep -c "^nxd:" log) -eq 1 ]] && grep "^nxd:" log | grep -qF -- "$words" ||
    { fail "not one line with '$words': $*"; sed 's/^/  | /' log; }
}
touch blocked
mkdir -p taken/rank-00000.json
refused 2 74 "blocked" train run.yaml name=bad --trace blocked
refused 1 74 "rank-00000.json" train run.yaml name=bad --trace taken
refused 1 64 "but the run does steps 1 to 8" train run.yaml name=bad --trace bad --trace-steps 9:12
refused 1 64 "the first and the last step" train run.yaml name=bad --trace bad --trace-steps 3
refused 1 64 "--trace" train run.yaml name=bad --trace-steps 1:3

compare=(plan run.yaml --ranks 2 "${pp2[@]}" --compare)
cp -r pp2 torn && truncate -s -100 torn/rank-00001.json
cp -r pp2 empty && : > empty/rank-00000.json
cp -r pp2 mixed && cp split/rank-00001.json mixed
cp -r pp2 swapped && cp pp2/rank-00000.json swapped/rank-00001.json
cp -r pp2 half && rm half/rank-00001.json
refused 1 74 "nowhere/rank-00000.json: cannot be read" "${compare[@]}" nowhere
refused 1 74 "half/rank-00001.json: cannot be read" "${compare[@]}" half
refused 1 65 "torn/rank-00001.json: its JSON has a mistake" "${compare[@]}" torn
refused 1 65 "empty/rank-00000.json: is empty" "${compare[@]}" empty
refused 1 65 "is of rank 0, not of rank 1" "${compare[@]}" swapped
refused 1 64 "mixed/rank-00001.json: is of a run with distributed_strategy.pipeline_schedule zb-h1" "${compare[@]}" mixed
refused 1 64 "is of a run with distributed_strategy.pipeline_model_parallel_size 1, but the plan has 2" "${compare[@]}" tp2
refused 1 64 "data.micro_batch_size" "${compare[@]}" pp2 data.micro_batch_size=2
refused 1 64 "ranks 2, but the plan has 4" plan run.yaml --ranks 4 "${pp2[@]}" --compare pp2
refused 1 64 "--compare" "${compare[@]}" pp2 --format trace
refused 1 64 "--rank" "${compare[@]}" pp2 --rank 1

passed
