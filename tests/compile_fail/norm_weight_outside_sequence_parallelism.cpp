// Activations are split along the sequence, but the norm was not told: its weight counts as used
// alike on all ranks, and its gradient would never be summed over them.
// expect: is_local<nxd::Contraction<.*nxd::Shard<nxd::Seq, nxd::TP(, nxd::Once)?> ?, nxd::Invariant<nxd::TP> ?>
// expect: the operands cannot meet as they are placed
#include <nxd/nn/norm.hpp>

#include "job.hpp"

using namespace nxd;

#ifdef WRONG
using Norm = RmsNorm<Hidden, TP, Duplicated>::bound<Here>;
#else
using Norm = RmsNorm<Hidden, TP, SequenceParallel<Seq>>::bound<Here>;
#endif

void step(Here& world) {
  Norm const norm{world.parameter<Norm::Weight>()};
  norm(world.random<Batched<Shape<Batch, Seq, Hidden>, Shard<Seq, TP>>>());
}
