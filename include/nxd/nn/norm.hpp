// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/autodiff/along.hpp>
#include <nxd/nn/region.hpp>

namespace nxd {

/// Root mean square normalisation along D with a weight that scales, as activations live between
/// the blocks of axis A: `RmsNorm<Hidden, TP, SequenceParallel<Seq>>`. See `rms_norm`.
template <TensorDim D, MeshAxis A, class Region = Duplicated> struct RmsNorm {
  template <class World> struct bound {
    using Weight = Tensor<typename World::weight, Shape<D>,
                          with_t<Layout<>, typename Region::template weight<A>>>;
    Var<Weight, World> weight;
    double epsilon = 1e-5;

    template <class X> constexpr auto operator()(Var<X, World> const& x) const {
      return rms_norm<D>(x, weight, epsilon);
    }
  };
};

}  // namespace nxd
