#!/usr/bin/env bash
# Compiles what users compile, within limits: a typed Llama on the xt backend at -O2 in 30 seconds of one
# core and 2 GiB, the headers of typed layers in 1.5 seconds. Seconds are the compiler's own, of a core on
# which a regular expression of the standard library takes 3. It is compiled just before each try, since
# a core that is shared with other work, or with other machines, is slower from one moment to the next; and
# what is over its limit is tried again, since it may have become slower in between.
#
#   compile_cost.sh COMPILER [FLAG...]
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
compiler=$1; shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export CCACHE_DISABLE=1
failed=0

TIMEFORMAT=%U
# seconds_of FILE FLAG...: what compiling it takes
seconds_of() {
  local file=$1; shift
  { time (ulimit -t 120 -v 2097152
          "$compiler" "$@" -c "$file" -o "$work/unit.o" 2> "$work/errors"); } 2>&1
}
# within SECONDS FILE FLAG...: compiles it, at most five times, and says what it took
within() {
  local limit=$1 file=$2 seconds yardstick most try; shift 2
  for try in 1 2 3 4 5; do
    yardstick=$(seconds_of "$work/yardstick.cpp" -std=c++20 -O2) || { cat "$work/errors"; exit 1; }
    if ! seconds=$(seconds_of "$file" "$@"); then
      echo "$file: does not compile in 2 GiB and 120 s"; head -5 "$work/errors"; failed=1; return
    fi
    most=$(awk "BEGIN { print $limit * ($yardstick > 3 ? $yardstick / 3 : 1) }")
    echo "${file#"$work"/}: $seconds s, of $most where the yardstick takes $yardstick s"
    if awk "BEGIN { exit !($seconds <= $most) }"; then return; fi
  done
  echo "${file#"$work"/}: over its limit in $try tries"; failed=1
}

flags=("$@")
printf '#include <ranges>\n#include <regex>\nstd::regex const any("a+b");\n' > "$work/yardstick.cpp"
within 30 "$root/examples/typed_llama.cpp" -O2 "${flags[@]}"
printf '#include <nxd/nn/linear.hpp>\n#include <nxd/optim/optimizer.hpp>\n' > "$work/typed_layers.cpp"
within 1.5 "$work/typed_layers.cpp" -O2 "${flags[@]}"
exit $failed
