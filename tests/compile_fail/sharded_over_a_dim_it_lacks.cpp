// The weight of a norm has no sequence that could be split.
// expect: names_dim_of<nxd::Shard<nxd::Seq, nxd::TP(, nxd::Once)?> ?, nxd::Shape<nxd::Hidden> ?>
// expect: Tensor: only its dimensions are sharded
#include <nxd/dist/fits.hpp>

#include "job.hpp"

using namespace nxd;

#ifdef WRONG
using Placed = Shard<Seq, TP>;
#else
using Placed = Replicate<TP>;
#endif

void step(Here& world) { world.parameter<Weight<Shape<Hidden>, Placed>>(); }
