// One operand holds a slice of the summed dimension, the other the whole of it: a row-parallel
// weight that was never split.
// expect: is_local<nxd::Contraction<nxd::Summed<nxd::Ffn>, nxd::Kept<> ?>, nxd::Shard<nxd::Ffn, nxd::TP(, nxd::Once)?> ?, nxd::Replicate<nxd::TP> ?>
// expect: the operands cannot meet as they are placed
#include "job.hpp"

using namespace nxd;

#ifdef WRONG
using Given = Replicate<TP>;
#else
using Given = Shard<Ffn, TP>;
#endif

void step(Here& world) {
  auto const x = world.random<Batched<Shape<Batch, Seq, Ffn>, Shard<Ffn, TP>>>();
  contract(x, world.parameter<Weight<Shape<Hidden, Ffn>, Given>>());
}
