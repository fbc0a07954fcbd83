// The gradient is all-reduced by hand, as in plain data parallelism, and then handed to ZeRO-1,
// which sums it over the same ranks again: every step is too long, and nothing crashes.
// expect: matches<nxd::Expected<nxd::Partial<nxd::DP> ?>, nxd::Got<nxd::Invariant<nxd::DP> ?> ?>
// expect: the gradient must still await its sum over the data axes
#include "gradient.hpp"

using namespace nxd;

void step(Here& world) {
  auto const up = bind<Linear<Hidden, Ffn, ColumnParallel<TP>>>(world);
#ifdef WRONG
  auto const gradient = redistribute<Invariant<DP>>(world, up.weight.grad());
#else
  auto const gradient = up.weight.grad();
#endif
  hand_over<Zero1<AdamW>>(world, gradient);
}
