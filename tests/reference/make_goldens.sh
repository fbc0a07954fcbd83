#!/usr/bin/env bash
# Makes the goldens of tests/reference anew, in tests/reference/golden or in DIRECTORY.
# Needs PyTorch and numpy (on Debian: python3-torch); NXD_PYTHON names another Python that has them.
#
#   tests/reference/make_goldens.sh [DIRECTORY]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
case ${1:-} in
  --help | -h) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
esac
exec "${NXD_PYTHON:-/usr/bin/python3}" -B "$here/make_goldens.py" "${1:-$here/golden}"
