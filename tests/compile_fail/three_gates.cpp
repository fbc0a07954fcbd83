// A fused weight of queries, keys and values handed to the gated unit, which has a gate and an up.
// expect: accepted<nxd::Rule::gate_and_up_must_be_two, 3, 2>
// expect: swiglu: gate and up must be two
#include <nxd/autodiff/swiglu.hpp>
#include <nxd/nn/dims.hpp>

using namespace nxd;

#ifdef WRONG
struct Job : Plan<Let<TP, 4>, Let<Batch, 8>, Let<GateUp, 3>, Let<Ffn, 64>> {};
#else
struct Job : Plan<Let<TP, 4>, Let<Batch, 8>, Let<GateUp, 2>, Let<Ffn, 64>> {};
#endif

void step(World<Job>& world) {
  swiglu<GateUp>(world.random<Tensor<bf16, Shape<Batch, GateUp, Ffn>, Layout<Shard<Ffn, TP>>>>());
}
