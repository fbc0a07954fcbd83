// Rotary positions turn pairs: a head of five numbers has one without a partner.
// expect: accepted<nxd::Rule::head_dim_must_be_even, 5, 2>
// expect: rotate: it turns pairs
#include <nxd/autodiff/rotary.hpp>
#include <nxd/nn/dims.hpp>

using namespace nxd;

#ifdef WRONG
struct Job : Plan<Let<TP, 4>, Let<Batch, 8>, Let<Seq, 64>, Let<Heads, 8>, Let<HeadDim, 5>> {};
#else
struct Job : Plan<Let<TP, 4>, Let<Batch, 8>, Let<Seq, 64>, Let<Heads, 8>, Let<HeadDim, 4>> {};
#endif

void step(World<Job>& world, Angles<Meta<bf16>> const& angles) {
  rotate(world.random<Tensor<bf16, Shape<Batch, Seq, Heads, HeadDim>>>(), angles);
}
