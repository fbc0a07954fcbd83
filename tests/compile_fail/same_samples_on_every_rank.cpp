// Every data-parallel rank computes on the same samples, and so their gradients are the same
// already. Summed over the ranks by the optimizer, they come out too long by the number of ranks.
// expect: matches<nxd::Expected<nxd::Partial<nxd::DP> ?>, nxd::Got<nxd::Invariant<nxd::DP> ?> ?>
// expect: the gradient must still await its sum over the data axes
#include <nxd/tensor/reference.hpp>

#include "gradient.hpp"

using namespace nxd;

#ifdef WRONG
using Scale = Tensor<float, Shape<Hidden>, Layout<Invariant<DP>>>;
#else
using Scale = Tensor<float, Shape<Hidden>, Layout<Replicate<DP>>>;
#endif
using Trained = World<Job, Reference<float>>;

struct Model {
  Var<Scale, Trained> scale;
  void visit(auto const& f) const { f(ParameterInfo{{"scale"}}, scale, Matrix<Shape<Hidden>>{}); }
};

void step(Optimizer<Zero1<AdamW>, Trained>& optimizer, Model const& model) {
  optimizer.reduce(model);
}
