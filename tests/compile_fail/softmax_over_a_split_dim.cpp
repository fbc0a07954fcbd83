// Each rank would make a distribution of its own classes: the sum over all of them is not one.
// expect: is_local<nxd::Along<nxd::Vocab>, nxd::Shard<nxd::Vocab, nxd::TP(, nxd::Once)?> ?, nxd::Shard<nxd::Vocab, nxd::TP(, nxd::Once)?> ?>
// expect: the operands cannot meet as they are placed
#include <nxd/autodiff/along.hpp>
#include <nxd/autodiff/redistribute.hpp>

#include "job.hpp"

using namespace nxd;

void step(Here& world) {
  auto const logits = world.random<Batched<Shape<Batch, Seq, Vocab>, Shard<Vocab, TP>>>();
#ifdef WRONG
  softmax<Vocab>(logits);
#else
  softmax<Vocab>(redistribute<Shard<Seq, TP>>(logits));
#endif
}
