#!/usr/bin/env bash
# Compiles what users compile, within limits: a typed Llama on the xt backend at -O2 in 30 seconds of one
# core and 2 GiB, the headers of typed layers in 2 seconds. Seconds are the compiler's own, so
# that other work on the machine counts little.
#
#   compile_cost.sh COMPILER [FLAG...]
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
compiler=$1; shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export CCACHE_DISABLE=1
failed=0

# within SECONDS FILE: compiles it, and says what it took.
within() {
  local limit=$1 file=$2 TIMEFORMAT='%U'; shift 2
  local seconds
  if ! seconds=$( { time (ulimit -t 120 -v 2097152; "$compiler" "$@" -c "$file" -o "$work/unit.o" \
                          2> "$work/errors"); } 2>&1 ); then
    echo "$file: does not compile in 2 GiB and 120 s"; head -5 "$work/errors"; failed=1; return
  fi
  echo "${file#"$work"/}: $seconds s, of $limit"
  if awk "BEGIN { exit !($seconds > $limit) }"; then failed=1; fi
}

flags=("$@")
within 30 "$root/examples/typed_llama.cpp" -O2 "${flags[@]}"
printf '#include <nxd/nn/linear.hpp>\n#include <nxd/optim/optimizer.hpp>\n' > "$work/typed_layers.cpp"
within 2 "$work/typed_layers.cpp" -O2 "${flags[@]}"
exit $failed
