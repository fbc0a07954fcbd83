// A layout lists the outermost axis first; in another order the same words would say another
// layout.
// expect: lists_each_axis_once<nxd::TP, nxd::DP>
// expect: Layout: list each axis once, outermost first
#include <nxd/dist/fits.hpp>

#include "job.hpp"

using namespace nxd;

#ifdef WRONG
using Placed = Layout<Shard<Seq, TP>, Shard<Batch, DP>>;
#else
using Placed = Layout<Shard<Batch, DP>, Shard<Seq, TP>>;
#endif

void step(Here& world) { world.random<Tensor<float, Shape<Batch, Seq>, Placed>>(); }
