// The values of some heads against the keys of others: key and value projections were split apart.
// expect: matches<nxd::Expected<.*Shard<nxd::KvHeads, nxd::TP.*, nxd::Got<
// expect: attention: the values are not placed as the keys are
#include <nxd/autodiff/attention.hpp>

#include "job.hpp"

using namespace nxd;

#ifdef WRONG
using Given = Replicate<TP>;
#else
using Given = Shard<KvHeads, TP>;
#endif

void step(Here& world) {
  auto const q = world.random<Batched<Shape<Batch, Seq, Heads, HeadDim>, Shard<Heads, TP>>>();
  auto const k =
      world.random<Batched<Shape<Batch, KeySeq, KvHeads, HeadDim>, Shard<KvHeads, TP>>>();
  auto const v = world.random<Batched<Shape<Batch, KeySeq, KvHeads, HeadDim>, Given>>();
  attention(q, k, v, 0.5);
}
