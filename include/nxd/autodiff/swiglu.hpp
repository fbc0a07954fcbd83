// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/autodiff/world.hpp>

namespace nxd {

namespace detail {

template <class D, class X, class L>
using without_dim_t =
    Tensor<typename X::element, decltype(without(typename X::shape{}, Shape<D>{})), L>;

template <class D, class... Ds> consteval bool is_next_to_last(Shape<Ds...>) {
  bool before = false, last = false;
  ((before = last, last = std::same_as<D, Ds>), ...);
  return before;
}

}  // namespace detail

/// D is the last dimension but one of shape S.
template <class D, class S>
inline constexpr bool is_next_to_last_dim = detail::is_next_to_last<D>(S{});

/// Gate and up are two. What is not known yet is not judged yet.
constexpr Verdict check_pair(std::int64_t extent) {
  if (extent == dynamic || extent == 2) return {};
  return {Rule::gate_and_up_must_be_two, extent, 2};
}

/// The gated unit of Llama: silu(gate) * up. Pair is a dimension of extent 2: gate, then up.
/// In: x[..., Pair, D], whole along Pair. Out: y[..., D] (Shazeer, "GLU variants", 2020).
template <TensorDim Pair, class X, class W> constexpr auto swiglu(Var<X, W> const& x) {
  auto& world = x.world();
  using B = typename W::backend;
  using M = Meeting<Along<Pair>, X, X, typename W::mesh>;
  M::check();
  using Y = detail::without_dim_t<Pair, X, typename M::layout>;
  require(Pair::name, check_pair(extent<Pair>(world.plan)));
  static_assert(is_next_to_last_dim<Pair, typename X::shape>,
                "swiglu: gate and up must be the last dimension but one");
  constexpr auto pair = check_pair(W::plan_type::template static_extent<Pair>);
  static_assert(nxd::accepted<pair.broken, pair.lhs, pair.rhs>, "swiglu: gate and up must be two");
  auto const columns = detail::last_extent<X>(world.plan);
  auto const rows = X::local_size(world.plan) / (2 * columns);
  auto const y = world.template make<Y>();
  compute<B>([&](auto k) { k.swiglu(rows, columns, data(x.value()), data(y)); });
  return world.record_if(
      M{}, y,
      [gx = x.slot(), &world, x = x.value(), rows, columns]<class G>(Local<G, B> const& dy) {
        using C = Meeting<ChainRule, G, relaid_t<Y, typename M::layout>, typename W::mesh>;
        auto const dx = world.template make<relaid_t<X, typename C::layout>>();
        compute<B>([&](auto k) { k.swiglu_pull(rows, columns, data(x), data(dy), data(dx)); });
        gx.accumulate(dx);
      },
      x.slot());
}

}  // namespace nxd
