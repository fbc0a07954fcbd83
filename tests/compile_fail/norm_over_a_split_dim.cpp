// Each rank would normalise by the mean square of its own slice of the hidden dimension.
// expect: is_local<nxd::Along<nxd::Hidden>, nxd::Shard<nxd::Hidden, nxd::TP(, nxd::Once)?> ?, nxd::Shard<nxd::Hidden, nxd::TP(, nxd::Once)?> ?>
// expect: the operands cannot meet as they are placed
#include <nxd/autodiff/along.hpp>
#include <nxd/autodiff/redistribute.hpp>

#include "job.hpp"

using namespace nxd;

void step(Here& world) {
  auto const x = world.random<Batched<Shape<Batch, Seq, Hidden>, Shard<Hidden, TP>>>();
  auto const weight = world.parameter<Weight<Shape<Hidden>, Replicate<TP>>>();
#ifdef WRONG
  rms_norm<Hidden>(x, weight);
#else
  rms_norm<Hidden>(redistribute<Shard<Seq, TP>>(x), weight);
#endif
}
