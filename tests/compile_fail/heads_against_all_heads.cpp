// Queries are split by heads, keys are not. Heads are kept, not summed: a slice has to meet the
// same slice.
// expect: is_local<nxd::Contraction<.*nxd::Shard<nxd::Heads, nxd::TP(, nxd::Once)?> ?, nxd::Replicate<nxd::TP> ?>
// expect: the operands cannot meet as they are placed
#include "job.hpp"

using namespace nxd;

#ifdef WRONG
using Given = Replicate<TP>;
#else
using Given = Shard<Heads, TP>;
#endif

void step(Here& world) {
  auto const q = world.random<Batched<Shape<Batch, Seq, Heads, HeadDim>, Shard<Heads, TP>>>();
  auto const k = world.random<Batched<Shape<Batch, KeySeq, Heads, HeadDim>, Given>>();
  contract<Shape<Batch, Heads, Seq, KeySeq>>(q, k);
}
