#!/usr/bin/env bash
# Installs what is missing, builds everything, runs every test.
#
#   tests/run.sh [--full] [--build DIR]
#
#   --full       long versions of tests that have one (they see NXD_FULL=1): more faults, kills and
#                servers, each header alone, benchmarks; then the unit tests again under the address
#                sanitizer (DIR-asan), those with threads under the thread sanitizer (DIR-tsan), and
#                tests/mutations.sh
#   --build DIR  where to build (build/release)
#   --help       this text
#
# The last line is `N passed, N failed`, with `, N skipped` where tests were skipped. The exit
# status is 0 if none failed, 1 if some did, 2 if the tests could not be run at all.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
build=$root/build/release full=no
while [[ $# -gt 0 ]]; do
  case $1 in
    --full) full=yes ;;
    --build)
      [[ $# -ge 2 ]] || { echo "--build needs a directory" >&2; exit 2; }
      build=$(realpath -m "$2"); shift ;;
    --help | -h) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    *) echo "tests/run.sh: unknown option $1; see tests/run.sh --help" >&2; exit 2 ;;
  esac
  shift
done
cd "$root"
source cmake/packages.sh

passed=0 failed=0 skipped=0
finish() {
  local tail=
  [[ $skipped -eq 0 ]] || tail=", $skipped skipped"
  echo "$passed passed, $failed failed$tail"
}
# stop_before_tests SENTENCE: counts as one failure, so that the last line never reads as success.
stop_before_tests() {
  echo "tests/run.sh: $1" >&2
  failed=$((failed + 1)); finish; exit 2
}

# build_and_test PRESET DIRECTORY TARGET CONFIGURE_ARGUMENT...: adds to the counts. TARGET is `all`, or
# `unit_tests` or `threaded_tests` for those alone.
build_and_test() {
  local preset=$1 directory=$2 target=$3; shift 3
  local filter=()
  case $target in unit_tests) filter=(-L unit) ;; threaded_tests) filter=(-L threads) ;; esac
  echo "== $preset: configure, build and test in $directory"
  configure "$preset" "$directory" -D NXD_BUILD_TESTS=ON "$@" > "$directory.log" 2>&1 ||
    { tail -20 "$directory.log" >&2; stop_before_tests "cmake cannot configure $directory"; }
  # What builds is tested even where something does not, which counts as one failure more: a test may
  # still have its program from an earlier build.
  local keep_going=-k
  if grep -q '^CMAKE_GENERATOR:INTERNAL=Ninja' "$directory/CMakeCache.txt"; then keep_going=-k0; fi
  cmake --build "$directory" --target "$target" -j "$(nproc)" -- "$keep_going" > "$directory/build.log" 2>&1 || {
    grep -E '^FAILED: |: (fatal )?error: |undefined reference|^make.*\*\*\*' "$directory/build.log" |
      head -40 || true
    failed=$((failed + 1))
    echo "Something does not build; all of the compilers' output is in $directory/build.log"
  }
  rm -f "$directory/results.xml"
  ctest --test-dir "$directory" --output-on-failure -j "$(nproc)" "${filter[@]}" \
        --output-junit "$directory/results.xml" > "$directory/ctest.log" 2>&1 || true
  if [[ ! -s $directory/results.xml ]]; then
    tail -20 "$directory/ctest.log" >&2; stop_before_tests "ctest has run no test in $directory"
  fi
  count() { grep -c "<testcase .*status=\"$1\"" "$directory/results.xml" || true; }
  local passes failures skips absent
  passes=$(count run) failures=$(count fail) absent=$(count notrun)
  # ctest writes a skipped test and one whose program is absent alike; only the first has a reason.
  skips=$(grep -c '<skipped message="SKIP_' "$directory/results.xml" || true)
  grep -E '^ *[0-9]+/[0-9]+ Test .*(\*\*\*|Not Run)|^[0-9]+% tests|Total Test time' \
    "$directory/ctest.log" || true
  if [[ $((failures + absent - skips)) -gt 0 ]]; then
    echo "Their output is in $directory/ctest.log"
    sed -n '/FAILED\|ERROR\|rror:/p' "$directory/ctest.log" | head -40 || true
  fi
  passed=$((passed + passes)) skipped=$((skipped + skips))
  failed=$((failed + failures + absent - skips))
}

install_packages "${packages_to_train[@]}" "${packages_to_test[@]}" ||
  stop_before_tests "the packages that the tests need are not all there"
mkdir -p "$(dirname "$build")"
install_from_npm "$build/npm" "$s3_server"
if [[ $full == yes ]]; then
  export NXD_FULL=1
  install_packages "${packages_to_test_fully[@]}" || echo "What needs Swift is skipped"
  install_from_npm "$build/npm-readers" "${safetensors_readers[@]}"
fi
allow_mpi_anywhere

if [[ $full == yes ]]; then long=ON; else long=OFF; fi
everything=(-D NXD_CHECK_EACH_HEADER=$long)
for component in MPI OPENMP BLAS XTENSOR YAML JSON S3 CLI; do
  everything+=(-D "NXD_WITH_$component=ON")
done
build_and_test release "$build" all "${everything[@]}" -D NXD_BUILD_BENCHMARKS=$long
unset NXD_FULL
if [[ $full == yes ]]; then
  build_and_test asan "$build-asan" unit_tests "${everything[@]}" -D NXD_BUILD_BENCHMARKS=OFF
  everything+=(-D NXD_WITH_OPENMP=OFF)
  build_and_test tsan "$build-tsan" threaded_tests "${everything[@]}" -D NXD_BUILD_BENCHMARKS=OFF
  echo "== mutations: what the headers are safe by is taken out, and tests must see it"
  if tests/mutations.sh; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
fi

finish
[[ $failed -eq 0 ]]
