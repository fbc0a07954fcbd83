#!/usr/bin/env bash
# The tests of <nxd/comm/mpi.hpp> once more, on two hosts.
set -eu
exec "$(dirname "$0")/two_hosts.sh" "$NXD_BINARY_DIR/tests/test.comm.mpi"
