#!/usr/bin/env bash
# Compares the template instantiations of the programs named in instantiations.txt with the counts
# recorded there. The count is the same on every machine, where seconds are not.
#
#   instantiations.sh [--update] [--clang COMPILER...] [--flags FLAG...]
#
# --update records the counts of now. COMPILERs that are not clang 14 are passed over; without
# clang 14 the check is skipped (exit status 77). A program that is not there is an error.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
record=$here/instantiations.txt

update=no list=none candidates=() flags=()
for argument in "$@"; do
  case $argument in
    --update) update=yes ;;
    --clang | --flags) list=$argument ;;
    *) [[ $list == --clang ]] && candidates+=("$argument") || flags+=("$argument") ;;
  esac
done
[[ ${#candidates[@]} -gt 0 ]] || candidates=(clang++-14 clang++)
if [[ ${#flags[@]} -eq 0 ]]; then
  flags=(-std=c++20 -I "$root/include" -D XTENSOR_USE_XSIMD -D NXD_WITH_S3
         -I "/usr/include/$(uname -m)-linux-gnu/openblas-openmp"
         -I "/usr/lib/$(uname -m)-linux-gnu/openmpi/include")
fi

clang=
for candidate in "${candidates[@]}"; do
  if "$candidate" --version 2>/dev/null | grep -q 'clang version 14\.'; then clang=$candidate; fi
done
[[ -n $clang ]] || { echo "skipped: the counts are those of clang 14, which is not here"; exit 77; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"  # with -fsyntax-only clang writes its trace as .json where it runs

count() {
  rm -f .json
  "$clang" "${flags[@]}" -fconstexpr-steps=16777216 -w -fsyntax-only -ftime-trace \
           -ftime-trace-granularity=0 "$1"
  grep -o '"name":"Instantiate[A-Z]' .json | wc -l
}

failed=0
while read -r recorded program; do
  if [[ $recorded == '#'* ]]; then echo "$recorded $program" >> new; continue; fi
  if ! now=$(count "$root/$program" 2> errors); then
    echo "$program: does not compile with $clang"; head -5 errors; failed=1
    echo "$recorded $program" >> new; continue
  fi
  echo "$now $program" >> new
  if (( now * 100 > recorded * 103 )); then
    echo "$program: $now instantiations, recorded $recorded: more than 3 % over"; failed=1
  elif (( now * 103 < recorded * 100 )); then
    echo "$program: $now instantiations, recorded $recorded: record the gain with --update"
  else
    echo "$program: $now instantiations"
  fi
done < "$record"

if [[ $update == yes ]]; then
  if ! cmp -s new "$record"; then cat new > "$record"; echo "recorded in $record"; fi
  exit 0
fi
exit $failed
