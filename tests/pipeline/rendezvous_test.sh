#!/usr/bin/env bash
# Pipelines over channels that send no message before its receive is posted: shared memory and TCP, each
# with an eager limit that little more than the head of a message fits in.
set -eu
for channel in vader tcp; do
  for program in pipeline.big_messages_mpi models.pipeline_parity_mpi; do
    echo "== $channel: $program"
    NXD_MPI_TIMEOUT=120 NXD_MPI_OPTIONS="--mca btl self,$channel --mca btl_${channel}_eager_limit 64" \
      "$NXD_MPIRUN" 4 "$NXD_BINARY_DIR/tests/test.$program"
  done
done
