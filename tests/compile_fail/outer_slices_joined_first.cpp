// Two axes slice the rows of a weight, as in fully sharded data parallelism over tensor
// parallelism. Gathered over the outer axis first, its rows come out shuffled.
// expect: slices_in_order<nxd::Shard<nxd::Ffn, nxd::DP(, nxd::Once)?> ?, nxd::Replicate<nxd::DP>
// expect: redistribute: an inner axis slices this dimension; move that one first
#include <nxd/autodiff/redistribute.hpp>

#include "job.hpp"

using namespace nxd;

void step(Here& world) {
  using Rows = Tensor<float, Shape<Ffn, Hidden>, Layout<Shard<Ffn, DP>, Shard<Ffn, TP>>>;
  auto const w = world.parameter<Rows>();
#ifdef WRONG
  redistribute<Replicate<DP>>(w);
#else
  redistribute<Replicate<DP>>(redistribute<Replicate<TP>>(w));
#endif
}
