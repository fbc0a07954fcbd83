// The first factor of a low-rank branch is whole on every rank, but each rank's gradient of it
// comes from its own slice of the outputs: one term of a sum over TP that was never taken.
// expect: is_whole_but_for<nxd::Partial<nxd::TP>, nxd::DP>
// expect: the gradient awaits a sum over another axis too
#include "gradient.hpp"

using namespace nxd;

void step(Here& world) {
  auto const down = world.parameter<Weight<Shape<HeadDim, Hidden>, Replicate<TP>>>();
#ifdef WRONG
  hand_over<Replicated<AdamW>>(world, down.grad());
#else
  hand_over<Replicated<AdamW>>(world, settle<Replicated<AdamW>>(world, down.grad()));
#endif
}
