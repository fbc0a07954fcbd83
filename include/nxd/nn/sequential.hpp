// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <tuple>
#include <utility>

#include <nxd/autodiff/elementwise.hpp>
#include <nxd/nn/linear.hpp>

namespace nxd {

/// A layer without weights: `Gelu`, `Silu`.
struct Gelu {
  template <class World> struct bound {
    template <class X> constexpr auto operator()(Var<X, World> const& x) const { return gelu(x); }
    constexpr void visit(std::string const&, Init, auto const&) const {}
  };
};
struct Silu {
  template <class World> struct bound {
    template <class X> constexpr auto operator()(Var<X, World> const& x) const { return silu(x); }
    constexpr void visit(std::string const&, Init, auto const&) const {}
  };
};

/// Layers one after the other, each on what the one before it leaves:
/// `Sequential<Linear<Hidden, Ffn, ColumnParallel<TP>>, Gelu, Linear<Ffn, Hidden,
/// RowParallel<TP>>>`. Parameters are named by place, as `0.weight` and `2.weight`.
template <class... Layers> struct Sequential {
  template <class World> struct bound {
    std::tuple<typename Layers::template bound<World>...> layers;

    constexpr explicit bound(World& world) : layers{bind<Layers>(world)...} {}

    template <class X> constexpr auto operator()(Var<X, World> const& x) const { return run<0>(x); }

    /// Calls `f(info, parameter, matrix)` for each, by names below `at`.
    void visit(std::string const& at, Init init, auto const& f) const {
      [&]<std::size_t... Is>(std::index_sequence<Is...>) {
        (std::get<Is>(layers).visit(at + std::to_string(Is) + ".", init, f), ...);
      }
      (std::index_sequence_for<Layers...>{});
    }
    void visit(auto const& f) const { visit("", {}, f); }

   private:
    template <std::size_t I, class X> constexpr auto run(Var<X, World> const& x) const {
      if constexpr (I == sizeof...(Layers))
        return x;
      else
        return run<I + 1>(std::get<I>(layers)(x));
    }
  };
};

}  // namespace nxd
