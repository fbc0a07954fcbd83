// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/autodiff/embedding.hpp>
#include <nxd/nn/region.hpp>

namespace nxd {

/// A table of token embeddings [V, D], its rows split over axis A: each rank looks up the tokens
/// that it has, and the sum over the axis is the embedding. In: ids[...], whole on every rank of A.
/// Out: x[..., D] as Region wants it.
template <TensorDim V, TensorDim D, MeshAxis A, class Region = Duplicated>
struct VocabParallelEmbedding {
  template <class World> struct bound {
    using Weight = Tensor<typename World::weight, Shape<V, D>, Layout<Shard<V, A>>>;
    Var<Weight, World> weight;

    template <class I> constexpr auto operator()(Var<I, World> const& ids) const {
      return redistribute<typename Region::template between<A>>(look_up(ids, weight));
    }
  };
};

}  // namespace nxd
