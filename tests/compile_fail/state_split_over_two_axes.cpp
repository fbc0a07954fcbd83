// With data and context parallelism both, nobody has said over which ranks the state is split.
// expect: has_one_axis<nxd::Mesh<nxd::DP, nxd::CP> ?>
// expect: Optimizer: state is split over one data axis; name it
#include <nxd/tensor/reference.hpp>

#include "gradient.hpp"

using namespace nxd;

#ifdef WRONG
struct LongContext : Plan<Let<DP, 2>, Let<CP, 2>> {};
#else
struct LongContext : Plan<Let<DP, 4>> {};
#endif
using Trained = World<LongContext, Reference<float>>;

std::int64_t steps(Optimizer<Zero1<AdamW>, Trained> const& optimizer) { return optimizer.steps(); }
