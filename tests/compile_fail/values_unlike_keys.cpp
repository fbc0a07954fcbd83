// The values of some heads against the keys of others: key and value projections were split apart.
// expect: matches<nxd::Expected<.*Shard<nxd::KvHeads, nxd::TP.*, nxd::Got<
// expect: attention: the values are not placed as the keys are
#include "job.hpp"
#include <nxd/autodiff/attention.hpp>

using namespace nxd;

#ifdef WRONG
using Given = Replicate<TP>;
#else
using Given = Shard<KvHeads, TP>;
#endif

void step(Here& world) {
  auto const q = world.random<Batched<Shape<Batch, Seq, Heads, HeadDim>, Shard<Heads, TP>>>();
  auto const k = world.random<Batched<Shape<Batch, KeySeq, KvHeads, HeadDim>, Shard<KvHeads, TP>>>();
  using Values = Tensor<float, Shape<Batch, KeySeq, KvHeads, HeadDim>, with_t<Layout<Shard<Batch, DP>>, Given>>;
  attention(q, k, world.random<Values>(), 0.5);
}
