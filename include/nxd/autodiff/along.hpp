// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/autodiff/contract.hpp>

namespace nxd {

namespace detail {

template <class D, class... Ds> consteval bool is_last(Shape<Ds...>) {
  bool last = false;
  ((last = std::same_as<D, Ds>), ...);
  return last;
}

/// The lines of X along its last dimension: how many a rank holds, and how long they are.
struct Lines {
  std::int64_t count;
  std::int64_t length;
};

template <class X, class D> constexpr Lines lines(auto const& plan) {
  auto const length = X::template local_extent<D>(plan);
  return {X::local_size(plan) / length, length};
}

}  // namespace detail

/// D is the last dimension of X: its lines are contiguous.
template <class D, class X>
inline constexpr bool is_last_dim = detail::is_last<D>(typename X::shape{});

/// Makes distributions of the lines of factor * x along D, the last dimension.
template <TensorDim D, class X, class W>
constexpr auto softmax(Var<X, W> const& x, double factor = 1) {
  static_assert(is_last_dim<D, X>, "softmax: its dimension must be the last one");
  auto& world = x.world();
  using B = typename W::backend;
  using M = Meeting<Along<D>, X, X, typename W::mesh>;
  M::check();
  using Y = relaid_t<X, typename M::layout>;
  auto const y = world.template make<Y>();
  auto const lines = detail::lines<X, D>(world.plan);
  compute<B>(
      [&](auto k) { k.softmax(lines.count, lines.length, factor, data(x.value()), data(y)); });
  return world.record_if(
      M{}, y,
      [gx = x.slot(), &world, y, lines, factor]<class G>(Local<G, B> const& dy) {
        using C = Meeting<ChainRule, G, Y, typename W::mesh>;
        auto const dx = world.template make<relaid_t<X, typename C::layout>>();
        compute<B>([&](auto k) {
          k.softmax_pull(lines.count, lines.length, factor, data(y), data(dy), data(dx));
        });
        gx.accumulate(dx);
      },
      x.slot());
}

/// Root mean square normalisation of the lines of x along D, the last dimension, and a weight that
/// scales them: y = x / sqrt(mean(x^2) + epsilon) * weight (Zhang and Sennrich, 2019).
/// In: x[..., D] whole along D, weight[D]. Out: like x. Memory: one number a line for the pullback.
template <TensorDim D, class X, class Y, class W>
constexpr auto rms_norm(Var<X, W> const& x, Var<Y, W> const& weight, double epsilon = 1e-5) {
  static_assert(is_last_dim<D, X>, "rms_norm: its dimension must be the last one");
  auto& world = x.world();
  using B = typename W::backend;
  using T = accumulator_t<typename X::element>;
  using Normal = Meeting<Along<D>, X, X, typename W::mesh>;
  Normal::check();
  using Scaled = detail::product_t<typename X::shape, relaid_t<X, typename Normal::layout>, Y, W>;
  Scaled::check();
  using Z = relaid_t<X, typename Scaled::layout>;
  auto const lines = detail::lines<X, D>(world.plan);
  auto const inverse = B::template allocate<T>(lines.count);
  auto const z = world.template make<Z>();
  compute<B>([&](auto k) {
    k.rms_norm(lines.count, lines.length, epsilon, data(x.value()), data(weight.value()), data(z),
               B::data(inverse));
  });
  return world.record_if(
      Scaled{}, z,
      [gx = x.slot(), gw = weight.slot(), &world, x = x.value(), w = weight.value(), inverse,
       lines]<class G>(Local<G, B> const& dz) {
        // By the rules of the product, and of the chain: dz placed so leaves dx and dw placed so.
        using dN = detail::product_tensor_t<typename X::shape, G, Y, W>;
        using dX = relaid_t<X, typename Meeting<ChainRule, dN, X, typename W::mesh>::layout>;
        using dW = detail::product_tensor_t<typename Y::shape, X, G, W>;
        auto const dx = world.template make<dX>();
        auto const dw = world.template make<sum_of_t<dW>>();
        compute<B>([&](auto k) {
          k.rms_norm_pull(lines.count, lines.length, data(x), data(w), B::data(inverse), data(dz),
                          data(dx), data(dw));
        });
        gx.accumulate(dx);
        gw.accumulate(dw);
      },
      x.slot(), weight.slot());
}

}  // namespace nxd
