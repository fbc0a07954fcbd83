// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>

#include <nxd/autodiff/attention.hpp>
#include <nxd/autodiff/rename.hpp>
#include <nxd/autodiff/rotary.hpp>
#include <nxd/nn/linear.hpp>

namespace nxd {

/// Grouped-query self-attention with rotary positions, its heads split over axis A. Where the axis
/// has more ranks than there are key heads, `KvCopies` neighbours hold the same ones.
/// In and out: x[Batch, Seq, Hidden] as Region leaves it.
template <MeshAxis A, class Region = Duplicated>
struct GroupedQueryAttention {
  using Queries = Linear<Hidden, Shape<Heads, HeadDim>, ColumnParallel<A, Region>>;
  using Keys = Linear<Hidden, Shape<KvHeads, HeadDim>, ColumnParallel<A, Region, KvCopies>>;
  using Out = Linear<Shape<Heads, HeadDim>, Hidden, RowParallel<A, Region>>;

  template <class World>
  struct bound {
    typename Queries::template bound<World> query;
    typename Keys::template bound<World> key, value;
    typename Out::template bound<World> out;

    constexpr explicit bound(World& world)
        : query(bind<Queries>(world)),
          key(bind<Keys>(world)),
          value(bind<Keys>(world)),
          out(bind<Out>(world)) {}

    template <class X>
    constexpr auto operator()(Var<X, World> const& x,
                              Angles<typename World::backend> const& angles) const {
      auto const whole = ColumnParallel<A, Region>::template enter<Hidden>(x);
      auto const q = rotate(query.product(whole), angles);
      auto const k = rename<Seq, KeySeq>(rotate(key.product(whole), angles));
      auto const v = rename<Seq, KeySeq>(value.product(whole));
      auto const width = static_cast<double>(extent<HeadDim>(x.world().plan));
      return out(attention(q, k, v, 1 / std::sqrt(width)));
    }
  };
};

}  // namespace nxd
