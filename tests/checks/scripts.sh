#!/usr/bin/env bash
# Every shell script of the project parses, and can be run.
set -eu
cd "$1"
failed=0
while IFS= read -r script; do
  bash -n "$script" || failed=1
  [[ -x $script ]] || { echo "$script: not executable (chmod +x)"; failed=1; }
done < <(find . -path ./build -prune -o -path ./.git -prune -o \
              \( -name '*.sh' -o -path './.ci/run' \) -type f -print)
exit $failed
