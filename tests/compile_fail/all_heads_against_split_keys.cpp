// Grouped-query attention whose keys are split over the ranks and whose queries are not: most
// queries do not find the keys that they look at.
// expect: is_local<nxd::Attend<nxd::Batch, nxd::Heads, nxd::KvHeads>, nxd::Replicate<nxd::TP> ?, nxd::Shard<nxd::KvHeads, nxd::TP(, nxd::Once)?> ?>
// expect: the operands cannot meet as they are placed
#include <nxd/autodiff/attention.hpp>

#include "job.hpp"

using namespace nxd;

#ifdef WRONG
using Given = Replicate<TP>;
#else
using Given = Shard<Heads, TP>;
#endif

void step(Here& world) {
  auto const q = world.random<Batched<Shape<Batch, Seq, Heads, HeadDim>, Given>>();
  auto const k =
      world.random<Batched<Shape<Batch, KeySeq, KvHeads, HeadDim>, Shard<KvHeads, TP>>>();
  attention(q, k, k, 0.5);
}
