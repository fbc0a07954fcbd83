// The keys of a sequence are as many as its queries.
// expect: accepted<nxd::Rule::renamed_dim_must_keep_its_extent, 64, 32>
// expect: rename: the new name has another extent in the plan
#include <nxd/autodiff/rename.hpp>
#include <nxd/nn/dims.hpp>

using namespace nxd;

#ifdef WRONG
struct Job : Plan<Let<TP, 4>, Let<Seq, 64>, Let<KeySeq, 32>> {};
#else
struct Job : Plan<Let<TP, 4>, Let<Seq, 64>, Let<KeySeq, 64>> {};
#endif

void step(World<Job>& world) { rename<Seq, KeySeq>(world.random<Tensor<bf16, Shape<Seq>>>()); }
