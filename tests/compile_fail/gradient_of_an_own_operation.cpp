// An operation of one's own gathers slices, and its backward pass forgets to cut them: every rank
// would add the gradient of the whole to that of its slice.
// expect: matches<nxd::Expected<.*nxd::Shard<nxd::Hidden, nxd::TP.*, nxd::Got<.*nxd::Invariant<nxd::TP>
// expect: pullback: the gradient has the wrong layout
#include <nxd/autodiff/redistribute.hpp>
#include <nxd/nn/dims.hpp>

using namespace nxd;

struct Job : Plan<Let<TP, 4>, Let<Hidden, 32>> {};

void step(World<Job>& world) {
  auto const x = world.random<Tensor<bf16, Shape<Hidden>, Layout<Shard<Hidden, TP>>>>();
  auto const y = redistribute<Invariant<TP>>(world, x.value());
  (void)world.record(y, [gx = x.slot(), &world](auto const& dy) {
#ifdef WRONG
    (void)world;
    gx.accumulate(dy);
#else
    gx.accumulate(redistribute<Shard<Hidden, TP>>(world, dy));
#endif
  });
}
