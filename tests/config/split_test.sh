#!/usr/bin/env bash
# examples/best_split.sh: every split of the cores has its line, the best is printed as a command, and that
# command trains. What it cannot plan is told in the program's sentence.
source "$(dirname "${BASH_SOURCE[0]}")/program.sh"
split=${NXD_SOURCE_DIR:?names the folder of the sources}/examples/best_split.sh
export NXD_CORES=2

sums 300
cat > run.yaml <<YAML
name: run
trainer: {max_steps: 1}
exp_manager: {exp_dir: runs, create_checkpoint_callback: false}
data: {train_dir: $work/text, micro_batch_size: 1, global_batch_size: 4, seq_length: 16, splits_string: "1000,0,0"}
model: {num_layers: 2, hidden_size: 32, ffn_hidden_size: 64, num_attention_heads: 4, num_kv_heads: 2}
YAML
"$split" run.yaml model.num_layers=4 > table 2> log || die "nothing is split"
for way in "2 x 1" "1 x 2"; do
  [[ $(grep -cE "^ *$way  +[0-9.e-]+  distributed_strategy\..*=" table) -eq 1 ]] || { fail "there is no $way"; show table; }
done
# The command is that of the quicker of the two.
read -r ranks _ threads _ <<< "$(sed -n '2,3p' table | sort -g -k 4 | head -1)"
command=$(tail -1 table) start=
[[ $ranks -eq 1 ]] || start="mpirun -np $ranks --map-by slot:PE=$threads "
[[ $command == "OMP_NUM_THREADS=$threads ${start}nxd train run.yaml model.num_layers=4 distributed_strategy."* ]] ||
  { fail "the command is not that of $ranks x $threads"; show table; }
read -r -a overrides <<< "${command#*nxd train }"
OMP_NUM_THREADS=$threads "$mpirun" "$ranks" "$program" train "${overrides[@]}" > log 2>&1 || die "$command does not train"

# refuses CODE WORDS COMMAND...: ends with the code and says the words
refuses() {
  "${@:3}" > log 2>&1
  [[ $? -eq $1 ]] && grep -q "$2" log || { fail "${*:3} does not say: $2"; show log; }
}
refuses 64 "usage: best_split.sh" "$split"
refuses 64 "model.num_layer" "$split" run.yaml model.num_layer=4
refuses 64 "NXD_CORES is none" env NXD_CORES=none "$split" run.yaml
refuses 64 "name it by NXD_PROGRAM" env NXD_PROGRAM=/nowhere/nxd "$split" run.yaml
passed
