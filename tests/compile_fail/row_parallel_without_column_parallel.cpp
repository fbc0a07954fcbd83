// A row-parallel layer multiplies slices. Here nothing has made slices.
// expect: matches<nxd::Expected<nxd::Shard<nxd::Ffn, nxd::TP(, nxd::Once)?> ?>, nxd::Got<nxd::Invariant<nxd::TP> ?> ?>
// expect: RowParallel: x is not a slice of its input dimension
#include <nxd/nn/linear.hpp>

#include "job.hpp"

using namespace nxd;

#ifdef WRONG
using Given = Invariant<TP>;
#else
using Given = Shard<Ffn, TP>;
#endif

void step(Here& world) {
  auto const down = bind<Linear<Ffn, Hidden, RowParallel<TP>>>(world);
  down(world.random<Batched<Shape<Batch, Seq, Ffn>, Given>>());
}
