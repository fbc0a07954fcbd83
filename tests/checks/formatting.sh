#!/usr/bin/env bash
# Whether every source is written as .clang-format says; other versions than 14 say other things of it.
#
#   formatting.sh PROJECT_DIRECTORY
set -eu
cd "$1"
format=$(command -v clang-format-14) || { echo "skipped: clang-format-14 is not here"; exit 77; }
mapfile -t sources < <(find include tests benchmarks examples -name '*.[ch]pp' | LC_ALL=C sort)
"$format" --dry-run -Werror --ferror-limit=1 "${sources[@]}" ||
  { echo "mend it with: clang-format-14 -i FILE"; exit 1; }
echo "${#sources[@]} sources"
