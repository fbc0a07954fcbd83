#!/usr/bin/env bash
# Whether the tests would see it: takes one thing at a time out of a copy of the headers that a checkpoint or
# a run is safe by, and runs the test that must turn red.
#
#   tests/mutations.sh [NAME ...]      all of them, or those named
#
# Exit status: 0 all were found, 1 one was not. Compiler: $CXX, or c++.
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d) || exit 74
trap 'rm -rf "$work"' EXIT
trap 'exit 1' TERM INT HUP

# name | header | the change, of one line | the test that must fail
mutations() {
  cat << 'LIST'
fsync of a file | checkpoint/storage.hpp | s/if (::fsync(fd_.get()) != 0) {/if (false) {/ | checkpoint/crash
fsync of a folder | checkpoint/storage.hpp | s/if (::fsync(directory(path).get()) != 0)/if (false)/ | checkpoint/crash
fsync after the rename | checkpoint/save.hpp | /storage.rename(folder, entry);/{n;d} | checkpoint/model_disk
rename after the manifest | checkpoint/save.hpp | s/^  write_file(storage, folder, manifest_name, text);/  storage.rename(folder, entry), storage.rename(entry, folder);&/ | checkpoint/crash
CRC of a chunk | checkpoint/entry.hpp | s/if (crc32c(chunk_) != /if (false \&\& crc32c(chunk_) != / | checkpoint/verify
XXH3-128 of a file | checkpoint/verify.hpp | s/record.xxh128 != file.xxh128()/false/ | checkpoint/verify
CRC of the manifest | checkpoint/manifest_text.hpp | s/ || detail::crc_line(text.substr(0, line)) != text.substr(line))/)/ | checkpoint/manifest_text
agreement of ranks | checkpoint/agree.hpp | s/^  detail::raise_first(\(.*\));$/  static_cast<void>(\1);/ | checkpoint/save
O_EXCL | checkpoint/storage.hpp | s/O_CREAT . O_EXCL/O_CREAT/ | checkpoint/storage
bounds of a header | checkpoint/safetensors.hpp | s/static_cast<std::int64_t>(stated) > file_size - 8)/false)/ | checkpoint/safetensors
read-back | checkpoint/save.hpp | s/if (read_manifest(storage, folder) != text)/if (false)/ | checkpoint/model_disk
quarantine | checkpoint/load.hpp | s/^  storage.rename(entry, aside);// | checkpoint/load
attendance | comm/control.hpp | s/if (sum != 0) tell_difference();// | comm/control
numbers that are not | train/step_judge.hpp | s/word.non_finite = !report.finite();// | train/step_judge
LIST
}

read -ra flags < <(pkg-config --cflags ompi-cxx 2> /dev/null)
# survives NAME HEADER CHANGE TEST: the headers without it, compiled with the test, which is run
survives() {
  local name=$1 header=$2 change=$3 test=$4 folder
  folder=$work/${name// /-}
  mkdir "$folder" && cp -r "$root/include" "$folder" || return
  sed -i "$change" "$folder/include/nxd/$header"
  if [[ $(diff "$root/include/nxd/$header" "$folder/include/nxd/$header" | grep -c '^[0-9]') -ne 1 ]]; then
    echo "NOT APPLIED: $name: $change changes not one line of $header"
  elif ! nice "${CXX:-c++}" -std=c++20 -O0 -w -I "$folder/include" -I "$root/tests" "${flags[@]}" \
      "$root/tests/${test}_test.cpp" "$root/tests/main.cpp" -o "$folder/test" -pthread -lxxhash > "$folder/log" 2>&1; then
    echo "NOT COMPILED: $name: $test with a change of $header"; sed 's/^/  | /;5q' "$folder/log"
  elif (cd "$folder" && timeout 300 ./test --abort-after=1 > log 2>&1); then
    echo "SURVIVED: $name: $test does not see it"
  elif ! grep -qE "^\[doctest\] test cases:.* [1-9][0-9]* failed" "$folder/log"; then
    echo "BROKEN: $name: $test has not come to its end"; tail -3 "$folder/log" | sed 's/^/  | /'
  else
    echo "found: $name: $(grep -m1 'TEST CASE' -A1 "$folder/log" | sed -E 's/TEST CASE: *//' | tr -s ' \n' ' ')"
    rm -rf "$folder"; return 1
  fi
  touch "$work/survivors"; rm -rf "$folder"
}

count=0
while read -r line; do
  name=${line%% | *}; line=${line#* | }
  header=${line%% | *}; line=${line#* | }
  test=${line##* | }; change=${line% | *}
  [[ $# -eq 0 || " $* " == *" $name "* ]] || continue
  while [[ $(jobs -rp | wc -l) -ge ${NXD_JOBS:-$(nproc)} ]]; do wait -n; done
  survives "$name" "$header" "$change" "$test" &
  count=$((count + 1))
done < <(mutations)
wait
[[ ! -e $work/survivors ]] || exit 1
echo "$count mutations: each is found"
