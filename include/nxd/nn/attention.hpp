// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>

#include <nxd/autodiff/attention.hpp>
#include <nxd/autodiff/recompute.hpp>
#include <nxd/autodiff/rename.hpp>
#include <nxd/autodiff/rotary.hpp>
#include <nxd/nn/linear.hpp>

namespace nxd {

namespace detail {

/// Attention of queries to keys and values of the same tokens, both turned to their positions.
template <class Q, class K, class V, class W>
constexpr auto attend_rotated(Var<Q, W> const& q, Var<K, W> const& k, Var<V, W> const& v,
                              Angles<typename W::backend> const& angles, Recompute how) {
  auto const scale = 1 / std::sqrt(static_cast<double>(extent<HeadDim>(q.world().plan)));
  auto const core = [angles, scale](auto const& queries, auto const& keys, auto const& values) {
    return attention(rotate(queries, angles), rename<Seq, KeySeq>(rotate(keys, angles)),
                     rename<Seq, KeySeq>(values), scale);
  };
  return how == Recompute::selective ? recompute(core, q, k, v) : core(q, k, v);
}

}  // namespace detail

/// Grouped-query self-attention with rotary positions, its heads split over axis A. Where the axis
/// has more ranks than there are key heads, `KvCopies` neighbours hold the same ones.
/// In and out: x[Batch, Seq, Hidden] as Region leaves it.
template <MeshAxis A, class Region = Duplicated> struct GroupedQueryAttention {
  using Queries = Linear<Hidden, Shape<Heads, HeadDim>, ColumnParallel<A, Region>>;
  using Keys = Linear<Hidden, Shape<KvHeads, HeadDim>, ColumnParallel<A, Region, KvCopies>>;
  using Out = Linear<Shape<Heads, HeadDim>, Hidden, RowParallel<A, Region>>;

  template <class World> struct bound {
    typename Queries::template bound<World> query;
    typename Keys::template bound<World> key, value;
    typename Out::template bound<World> out;

    constexpr explicit bound(World& world)
        : query(bind<Queries>(world)),
          key(bind<Keys>(world)),
          value(bind<Keys>(world)),
          out(bind<Out>(world)) {}

    template <class X>
    constexpr auto operator()(Var<X, World> const& x, Angles<typename World::backend> const& angles,
                              Recompute how = Recompute::none) const {
      auto const [v, k, q] =
          ColumnParallel<A, Region>::outputs(x, value.weight, key.weight, query.weight);
      return out(detail::attend_rotated(q, k, v, angles, how));
    }

    /// Calls `f(info, parameter, matrix)` for each, by its Hugging Face name below `at`.
    void visit(std::string const& at, Init init, auto const& f) const {
      query.visit(at + "q_proj.", init, f);
      key.visit(at + "k_proj.", init, f);
      value.visit(at + "v_proj.", init, f);
      out.visit(at + "o_proj.", init, f);
    }
  };
};

}  // namespace nxd
