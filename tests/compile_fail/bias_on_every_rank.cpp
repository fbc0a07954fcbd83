// The bias of a row-parallel layer is added before the all-reduce: it comes out once for every
// rank.
// expect: is_local<nxd::Sum, nxd::Partial<nxd::TP> ?, nxd::Replicate<nxd::TP> ?>
// expect: the operands cannot meet as they are placed
#include <nxd/autodiff/elementwise.hpp>
#include <nxd/autodiff/redistribute.hpp>

#include "job.hpp"

using namespace nxd;

void step(Here& world) {
  auto const x = world.random<Weight<Shape<Ffn>, Shard<Ffn, TP>>>();
  auto const y = contract(x, world.parameter<Weight<Shape<Hidden, Ffn>, Shard<Ffn, TP>>>());
  auto const bias = world.parameter<Weight<Shape<Hidden>, Replicate<TP>>>();
#ifdef WRONG
  y + bias;
#else
  (void)(redistribute<Replicate<TP>>(y) + bias);
#endif
}
