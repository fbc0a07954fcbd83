// A row-parallel product by hand, and its all-reduce forgotten: gelu(a) + gelu(b) is not gelu(a +
// b).
// expect: is_local<nxd::Nonlinear, nxd::Partial<nxd::TP> ?, nxd::Partial<nxd::TP> ?>
// expect: the operands cannot meet as they are placed
#include <nxd/autodiff/elementwise.hpp>
#include <nxd/autodiff/redistribute.hpp>

#include "job.hpp"

using namespace nxd;

void step(Here& world) {
  auto const x = world.random<Batched<Shape<Batch, Seq, Ffn>, Shard<Ffn, TP>>>();
  auto const w = world.parameter<Weight<Shape<Hidden, Ffn>, Shard<Ffn, TP>>>();
#ifdef WRONG
  gelu(contract(x, w));
#else
  gelu(redistribute<Invariant<TP>>(contract(x, w)));
#endif
}
