// A residual of another shape: what has as many elements need not be the same thing.
// expect: is_one_shape<nxd::Shape<nxd::Seq, nxd::Hidden>, nxd::Shape<nxd::Hidden, nxd::Seq>
// expect: operator\+: the terms have different dimensions
#include <nxd/autodiff/elementwise.hpp>

#include "job.hpp"

using namespace nxd;

#ifdef WRONG
using Residual = Shape<Hidden, Seq>;
#else
using Residual = Shape<Seq, Hidden>;
#endif

void step(Here& world) {
  auto const x = world.random<Tensor<float, Shape<Seq, Hidden>>>();
  (void)(x + world.random<Tensor<float, Residual>>());
}
