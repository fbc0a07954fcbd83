// The activations of one rank are those of all, and meet a column-parallel weight as such: the
// forgotten copy to the tensor-parallel region, whose backward pass is the all-reduce of dx.
// expect: is_local<nxd::Contraction<.*nxd::Invariant<nxd::TP> ?, nxd::Shard<nxd::Ffn, nxd::TP(, nxd::Once)?> ?>
// expect: the operands cannot meet as they are placed
#include <nxd/autodiff/redistribute.hpp>

#include "job.hpp"

using namespace nxd;

void step(Here& world) {
  auto const x = world.random<Batched<Shape<Batch, Seq, Hidden>, Invariant<TP>>>();
  auto const w = world.parameter<Weight<Shape<Ffn, Hidden>, Shard<Ffn, TP>>>();
#ifdef WRONG
  contract(x, w);
#else
  contract(redistribute<Replicate<TP>>(x), w);
#endif
}
