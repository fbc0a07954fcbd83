// Copies that each rank uses in its own way have gradients of their own. No collective makes them
// one use; who believes that they are must have summed them.
// expect: has_road<nxd::Replicate<nxd::TP>, nxd::Invariant<nxd::TP> ?>
// expect: redistribute: no collective leads from here to there
#include <nxd/autodiff/redistribute.hpp>

#include "job.hpp"

using namespace nxd;

#ifdef WRONG
using Given = Replicate<TP>;
#else
using Given = Partial<TP>;
#endif

void step(Here& world) {
  redistribute<Invariant<TP>>(world.random<Batched<Shape<Batch, Hidden>, Given>>());
}
