// Along one axis a tensor is split once: here its rows and its columns would be.
// expect: lists_each_axis_once<nxd::TP, nxd::TP>
// expect: Layout: list each axis once, outermost first
#include <nxd/dist/fits.hpp>

#include "job.hpp"

using namespace nxd;

#ifdef WRONG
using Placed = Layout<Shard<Ffn, TP>, Shard<Hidden, TP>>;
#else
using Placed = Layout<Shard<Ffn, TP>>;
#endif

void step(Here& world) { world.parameter<Tensor<float, Shape<Ffn, Hidden>, Placed>>(); }
