// Gate and up interleaved, as a fused weight of another order has them: the kernel would take a
// half of the gate for up.
// expect: is_next_to_last_dim<nxd::GateUp, nxd::Shape<nxd::Batch, nxd::Ffn, nxd::GateUp> ?>
// expect: swiglu: gate and up must be the last dimension but one
#include <nxd/autodiff/swiglu.hpp>

#include "job.hpp"

using namespace nxd;

#ifdef WRONG
using Order = Shape<Batch, Ffn, GateUp>;
#else
using Order = Shape<Batch, GateUp, Ffn>;
#endif

void step(Here& world) { swiglu<GateUp>(world.random<Batched<Order, Shard<Ffn, TP>>>()); }
