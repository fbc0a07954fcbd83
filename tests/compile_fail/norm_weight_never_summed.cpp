// Under sequence parallelism each rank scales its own tokens, and has one term of the gradient of
// the scale. A step along that term lets the ranks' copies of the norm's weight drift apart.
// expect: is_whole_but_for<nxd::Partial<nxd::TP>, nxd::DP>
// expect: the gradient awaits a sum over another axis too
#include <nxd/nn/norm.hpp>

#include "gradient.hpp"

using namespace nxd;

using Norm = RmsNorm<Hidden, TP, SequenceParallel<Seq>>::bound<Here>;

void step(Here& world) {
  Norm const norm{world.parameter<Norm::Weight>()};
#ifdef WRONG
  auto const gradient = norm.weight.grad();
#else
  auto const gradient = redistribute<Replicate<TP>>(world, norm.weight.grad());
#endif
  hand_over<Zero1<AdamW>>(world, gradient);
}
