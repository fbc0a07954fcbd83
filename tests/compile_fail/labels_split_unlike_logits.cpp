// Logits are split over the vocabulary, labels along the sequence: a rank knows the labels of a
// part of the tokens that it has logits of.
// expect: is_local<nxd::CrossEntropyOf<nxd::Vocab>, nxd::Shard<nxd::Vocab, nxd::TP(, nxd::Once)?> ?, nxd::Shard<nxd::Seq, nxd::TP(, nxd::Once)?> ?>
// expect: the operands cannot meet as they are placed
#include <nxd/autodiff/cross_entropy.hpp>

#include "job.hpp"

using namespace nxd;

#ifdef WRONG
using Given = Layout<Shard<Batch, DP>, Shard<Seq, TP>>;
#else
using Given = Layout<Shard<Batch, DP>>;
#endif

void step(Here& world) {
  using Labels = Tensor<std::int32_t, Shape<Batch, Seq>, Given>;
  auto const logits = world.random<Batched<Shape<Batch, Seq, Vocab>, Shard<Vocab, TP>>>();
  cross_entropy<Vocab>(logits, world.constant(world.make<Labels>()));
}
