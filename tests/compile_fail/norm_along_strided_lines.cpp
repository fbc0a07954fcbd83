// A norm over the hidden dimension of activations that have it first.
// expect: is_last_dim<nxd::Hidden, .*nxd::Shape<nxd::Hidden, nxd::Seq>
// expect: rms_norm: its dimension must be the last one
#include <nxd/autodiff/along.hpp>

#include "job.hpp"

using namespace nxd;

#ifdef WRONG
using Activations = Shape<Hidden, Seq>;
#else
using Activations = Shape<Seq, Hidden>;
#endif

void step(Here& world) {
  auto const weight = world.parameter<Tensor<float, Shape<Hidden>>>();
  rms_norm<Hidden>(world.random<Tensor<float, Activations>>(), weight);
}
