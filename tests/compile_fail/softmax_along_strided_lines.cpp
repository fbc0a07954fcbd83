// The scores of one query do not lie side by side: their lines are not the last dimension.
// expect: is_last_dim<nxd::KeySeq, .*nxd::Shape<nxd::KeySeq, nxd::Seq>
// expect: softmax: its dimension must be the last one
#include <nxd/autodiff/along.hpp>

#include "job.hpp"

using namespace nxd;

#ifdef WRONG
using Scores = Shape<KeySeq, Seq>;
#else
using Scores = Shape<Seq, KeySeq>;
#endif

void step(Here& world) { softmax<KeySeq>(world.random<Tensor<float, Scores>>()); }
