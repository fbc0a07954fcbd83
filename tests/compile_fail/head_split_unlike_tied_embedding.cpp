// Head and embedding share one weight, whose rows are split over the vocabulary. A head that takes
// a slice of the hidden dimension, as a row-parallel layer does, cannot use it.
// expect: is_local<nxd::Contraction<.*nxd::Shard<nxd::Hidden, nxd::TP(, nxd::Once)?> ?, nxd::Shard<nxd::Vocab, nxd::TP(, nxd::Once)?> ?>
// expect: the operands cannot meet as they are placed
#include <nxd/nn/embedding.hpp>

#include "job.hpp"

using namespace nxd;

using Embed = VocabParallelEmbedding<Vocab, Hidden, TP>::bound<Here>;

void step(Here& world) {
  Embed const embedding{world.parameter<Embed::Weight>()};
  auto const x = world.random<Batched<Shape<Batch, Seq, Hidden>, Replicate<TP>>>();
#ifdef WRONG
  contract(redistribute<Shard<Hidden, TP>>(x), embedding.weight);
#else
  contract(x, embedding.weight);
#endif
}
