// The weight of embedding and head has two gradients. One is reduce-scattered over the
// data-parallel ranks before they are added: a slice of a sum meets a term of one.
// expect: is_local<nxd::Sum, nxd::Shard<nxd::Hidden, nxd::DP(, nxd::Once)?> ?, nxd::Partial<nxd::DP> ?>
// expect: the operands cannot meet as they are placed
#include <nxd/autodiff/elementwise.hpp>
#include <nxd/autodiff/redistribute.hpp>

#include "job.hpp"

using namespace nxd;

void step(Here& world) {
  using Table = Weight<Shape<Vocab, Hidden>, Shard<Vocab, TP>>;
  auto const of_embedding = world.constant(world.parameter<Table>().grad());
  auto const of_head = world.constant(world.parameter<Table>().grad());
  using Slice = Shard<Hidden, DP>;
#ifdef WRONG
  redistribute<Slice>(of_embedding) + of_head;
#else
  (void)redistribute<Slice>(of_embedding + of_head);
#endif
}
