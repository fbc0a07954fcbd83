#!/usr/bin/env bash
# Our reader of safetensors files against others: the published rules, read independently (foreign/rules.py),
# and two foreign readers from npm, @huggingface/hub and @jax-js/loaders. All find the same in generated files,
# sound and spoilt ones, or ours refuses for a listed reason; and all read what our writer writes. 10,000 files in
# full runs, which install the foreign readers; else 500, and those readers where they are. NXD_SEED makes the
# files of another run again.
set -uo pipefail
program=${NXD_VERDICTS:-${NXD_BINARY_DIR:?}/tests/test.verdicts} modules=${NXD_BINARY_DIR:?}/npm-readers/node_modules
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/foreign
readers=no
if command -v node > /dev/null && [[ -d $modules/@huggingface/hub && -d $modules/@jax-js/loaders ]]; then readers=yes; fi
if [[ -n ${NXD_FULL:-} && $readers == no ]]; then
  echo "skipped: there is no node, or no foreign readers in $modules; tests/run.sh --full installs them where npm can"
  exit 77
fi
work=$(mktemp -d) || exit 74
trap 'rm -rf "$work"' EXIT
trap 'exit 1' TERM INT HUP
count=500 seed=${NXD_SEED:-$RANDOM$RANDOM}
[[ -z ${NXD_FULL:-} ]] || count=10000
echo "NXD_SEED=$seed"
die() { echo "FAILED: $1"; exit 1; }

export PYTHONDONTWRITEBYTECODE=1 NODE_PATH=$modules
mkdir "$work"/{files,anew}
python3 "$here/make.py" "$work/files" "$count" "$seed" || die "no files are made"
"$program" "$work/files" "$work/anew" > "$work/ours" || die "our reader ends with $?"
if [[ $readers == yes ]]; then
  node "$here/readers.cjs" "$work/files" > "$work/foreign" || die "the foreign readers end with $?"
  node "$here/readers.cjs" "$work/anew" > "$work/foreign_anew" || die "the foreign readers end with $?"
fi
python3 "$here/judge.py" "$work"/{files,anew,ours,foreign,foreign_anew}
