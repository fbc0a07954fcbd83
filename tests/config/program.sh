# What tests of the program begin with; source it. They then work in a folder of their own, `$work`, which
# goes when they end. `$program` is the program, `$mpirun RANKS COMMAND...` starts it on several ranks.
# A test calls `fail` for what does not hold, and ends with `passed`.
set -uo pipefail
program=${NXD_PROGRAM:?names the program} mpirun=${NXD_MPIRUN:?names mpirun.sh}
work=$(mktemp -d) || exit 74
trap 'rm -rf "$work"' EXIT
trap 'exit 1' TERM INT HUP
cd "$work" || exit 74
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive NXD_MPI_TIMEOUT=30 NXD_PROGRESS=lines
export OMPI_MCA_orte_tmpdir_base=$work

# fail SENTENCE: also from what runs in the background
fail() { echo "FAILED: $1"; touch "$work/failures"; }
# show FILE: its first lines
show() { sed 's/^/  | /;20q' "$1"; }
# die SENTENCE: nothing after it would make sense
die() { fail "$1"; show log; exit 1; }
passed() { [[ ! -e $work/failures ]]; }

# sums LINES: a text that a small model learns soon, in text/sums.txt
sums() {
  mkdir -p text
  awk -v lines="$1" 'BEGIN { for (i = 0; i < lines; ++i) { x = (x * 421 + 1663) % 7875
    printf "%d plus %d is %d.%s", i % 50, x % 9, i % 50 + x % 9, x % 5 ? " " : "\n" } }' > text/sums.txt
}

# small_llama LAYERS WIDTH: the model of a configuration. Its rates do not depend on the length of a run.
small_llama() {
  cat << YAML
model:
  num_layers: $1
  hidden_size: $2
  ffn_hidden_size: $((2 * $2))
  num_attention_heads: 4
  num_kv_heads: 2
  optim:
    name: adamw
    lr: 1e-3
    sched: {name: LinearAnnealingWithWarmUp, warmup_steps: 2, max_steps: 1000}
YAML
}
