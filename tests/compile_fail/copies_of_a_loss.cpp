// Every data-parallel rank holds the loss, and each copy counts as a loss of its own: gradients
// come out too long by the number of ranks.
// expect: is_one_loss<nxd::Replicate<nxd::DP> ?>
// expect: backward: each rank's copy of the loss would count
#include <nxd/autodiff/redistribute.hpp>

#include "job.hpp"

using namespace nxd;

#ifdef WRONG
using Wanted = Replicate<DP>;
#else
using Wanted = Invariant<DP>;
#endif

void step(Here& world) {
  auto const x = world.random<Batched<Shape<Batch>, Invariant<TP>>>();
  world.backward(redistribute<Wanted>(contract(x, x)));
}
