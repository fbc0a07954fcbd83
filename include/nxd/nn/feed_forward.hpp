// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/autodiff/swiglu.hpp>
#include <nxd/nn/linear.hpp>

namespace nxd {

/// The gated feed-forward layer of Llama, its inner dimension split over axis A: gate and up are
/// one product. In and out: x[..., Hidden] as Region leaves it.
template <MeshAxis A, class Region = Duplicated> struct GatedFeedForward {
  template <class World> struct bound {
    BoundLinear<Hidden, Shape<GateUp, Ffn>, ColumnParallel<A, Region>, World> gate_up;
    BoundLinear<Ffn, Hidden, RowParallel<A, Region>, World> down;

    constexpr explicit bound(World& world)
        : gate_up(bind<Linear<Hidden, Shape<GateUp, Ffn>, ColumnParallel<A, Region>>>(world)),
          down(bind<Linear<Ffn, Hidden, RowParallel<A, Region>>>(world)) {}

    template <class X> constexpr auto operator()(Var<X, World> const& x) const {
      return down(swiglu<GateUp>(gate_up(x)));
    }
  };
};

}  // namespace nxd
