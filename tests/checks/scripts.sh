#!/usr/bin/env bash
# Every shell script of the project parses; one that names its shell can be run.
set -eu
cd "$1"
failed=0
while IFS= read -r script; do
  bash -n "$script" || failed=1
  if head -1 "$script" | grep -q "^#!" && [[ ! -x $script ]]; then
    echo "$script: not executable (chmod +x)"; failed=1
  fi
done < <(find . -path ./build -prune -o -path ./.git -prune -o \
              \( -name '*.sh' -o -path './.ci/run' \) -type f -print)
exit $failed
