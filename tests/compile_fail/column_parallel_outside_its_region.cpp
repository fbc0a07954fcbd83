// Under sequence parallelism a column-parallel layer gathers its tokens itself. Handed tokens that
// are gathered already, it would gather them again.
// expect: matches<nxd::Expected<nxd::Shard<nxd::Seq, nxd::TP(, nxd::Once)?> ?>, nxd::Got<nxd::Replicate<nxd::TP> ?> ?>
// expect: ColumnParallel: x is not placed as its Region leaves activations between blocks
#include <nxd/nn/linear.hpp>

#include "job.hpp"

using namespace nxd;

void step(Here& world) {
  auto const up = bind<Linear<Hidden, Ffn, ColumnParallel<TP, SequenceParallel<Seq>>>>(world);
  auto const x = world.random<Batched<Shape<Batch, Seq, Hidden>, Shard<Seq, TP>>>();
#ifdef WRONG
  up(redistribute<Replicate<TP>>(x));
#else
  up(x);
#endif
}
