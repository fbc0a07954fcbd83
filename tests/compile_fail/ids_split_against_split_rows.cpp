// Each rank holds some rows of the embedding, and is given some of the tokens: a token meets only
// the rows of its own rank.
// expect: is_local<nxd::LookUp<nxd::Vocab>, nxd::Shard<nxd::Seq, nxd::TP(, nxd::Once)?> ?, nxd::Shard<nxd::Vocab, nxd::TP(, nxd::Once)?> ?>
// expect: the operands cannot meet as they are placed
#include <nxd/nn/embedding.hpp>

#include "job.hpp"

using namespace nxd;

#ifdef WRONG
using Given = Layout<Shard<Batch, DP>, Shard<Seq, TP>>;
#else
using Given = Layout<Shard<Batch, DP>>;
#endif
using Embed = VocabParallelEmbedding<Vocab, Hidden, TP>::bound<Here>;

void step(Here& world) {
  using Ids = Tensor<std::int32_t, Shape<Batch, Seq>, Given>;
  Embed const embedding{world.parameter<Embed::Weight>()};
  embedding(world.constant(world.make<Ids>()));
}
