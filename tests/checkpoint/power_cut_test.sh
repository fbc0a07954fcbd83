#!/usr/bin/env bash
# The power fails while checkpoints are saved: of a disk of its own (ext4 in a file, behind a loop device) what
# has come to the device is kept and mounted anew; the newest checkpoint that was told of must be there, bit
# for bit, and none may be torn. A program that asks the disk for nothing must be found bad. 40 cuts in full
# runs, else 2. Skipped where this user may not mount.
set -uo pipefail
program=${NXD_POWER_CUT:-${NXD_BINARY_DIR:?}/tests/test.power_cut}
if [[ -z ${NXD_UNSHARED:-} ]]; then
  command -v mkfs.ext4 > /dev/null || PATH=$PATH:/usr/sbin:/sbin
  command -v mkfs.ext4 > /dev/null || { echo "skipped: there is no mkfs.ext4"; exit 77; }
  unshare -m true 2> /dev/null || { echo "skipped: this user may not mount"; exit 77; }
  NXD_UNSHARED=yes PATH=$PATH exec unshare -m --propagation private bash "${BASH_SOURCE[0]}"
fi
work=$(mktemp -d) || exit 74
saver=
trap '[[ -z $saver ]] || kill -9 $saver 2> /dev/null; wait; umount "$work/cut" 2> /dev/null; umount "$work/disk" 2> /dev/null
      rm -rf "$work"' EXIT
trap 'exit 1' TERM INT HUP
cd "$work" || exit 74
mkdir disk cut
RANDOM=${NXD_SEED:-$$}

truncate -s 24M image
mkfs.ext4 -q -F image 2> log || { cat log; exit 1; }
mount -o loop,commit=1 image disk 2> log || { echo "skipped: $(head -1 log)"; exit 77; }
umount disk

# cut_power KIND: saves of that kind for a moment, then what is on the device; its judgement in `log`
cut_power() {
  mkfs.ext4 -q -F image && mount -o loop,commit=1 image disk || exit 74
  : > told
  "$program" save disk/ckpt "$1" >> told &
  saver=$!
  for ((i = 0; i < 6000; ++i)); do [[ $(wc -l < told) -lt 2 ]] || break; sleep 0.01; done
  sleep "0.$(printf %03d $((RANDOM % 900)))"
  kill -STOP $saver
  local step; step=$(tail -1 told)
  cp --sparse=always image cut.image  # what the page cache has not written to the device is not in it
  kill -KILL $saver; wait $saver 2> /dev/null; saver=
  umount disk
  mount -o loop cut.image cut || { echo "a disk cannot be mounted after the cut" > log; return 1; }
  "$program" check cut/ckpt "${step:-0}" > log 2>&1; local status=$?
  umount cut
  return $status
}

failed=0 cuts=2 found=0
[[ -z ${NXD_FULL:-} ]] || cuts=40
for ((n = 1; n <= cuts; ++n)); do
  cut_power synced || { failed=$((failed + 1)); echo "FAILED: cut $n: $(head -1 log)"; }
done
for ((n = 1; n <= (cuts + 9) / 10; ++n)); do cut_power careless || found=$((found + 1)); done
echo "$((cuts - failed)) of $cuts cuts: the newest checkpoint is there; without syncs $found of $(((cuts + 9) / 10)) are found bad"
[[ $failed -eq 0 && $found -gt 0 ]]
