// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <numbers>

#include <nxd/autodiff/world.hpp>

namespace nxd {

template <class S, class R> inline constexpr bool is_one_shape = std::same_as<S, R>;

/// x + y, which are placed alike.
template <class X, class Y, class W>
constexpr auto operator+(Var<X, W> const& x, Var<Y, W> const& y) {
  static_assert(nxd::is_one_shape<typename X::shape, typename Y::shape>,
                "operator+: the terms have different dimensions");
  if constexpr (!is_one_shape<typename X::shape, typename Y::shape>) {
    return x;
  } else {
    auto& world = x.world();
    using B = typename W::backend;
    using M = Meeting<Sum, X, Y, typename W::mesh>;
    M::check();
    using Z = relaid_t<X, typename M::layout>;
    auto const z = world.template make<Z>();
    compute<B>([&](auto k) {
      k.add(Z::local_size(world.plan), data(x.value()), data(y.value()), data(z));
    });
    return world.record_if(
        M{}, z,
        [gx = x.slot(), gy = y.slot()](auto const& dz) {
          gx.accumulate(dz);
          gy.accumulate(dz);
        },
        x.slot(), y.slot());
  }
}

/// a x, element by element, for a number a.
template <class X, class W> constexpr auto scale(double a, Var<X, W> const& x) {
  auto& world = x.world();
  using B = typename W::backend;
  auto const scaled = [&world, a]<class Y>(Local<Y, B> const& from) {
    auto const to = world.template make<Y>();
    compute<B>([&](auto k) {
      k.scale(Y::local_size(world.plan), static_cast<accumulator_t<typename Y::element>>(a),
              data(from), data(to));
    });
    return to;
  };
  return world.record(
      scaled(x.value()),
      [gx = x.slot(), scaled](auto const& dy) {
        if (gx.wanted()) gx.accumulate(scaled(dy));
      },
      x.slot());
}

namespace detail {

/// f(x), element by element, where f has a derivative.
template <class F, class X, class W> constexpr auto apply(F f, Var<X, W> const& x) {
  auto& world = x.world();
  using B = typename W::backend;
  using M = Meeting<Nonlinear, X, X, typename W::mesh>;
  M::check();
  using Y = relaid_t<X, typename M::layout>;
  auto const y = world.template make<Y>();
  if constexpr (B::has_elements)
    std::transform(data(x.value()), data(x.value()) + X::local_size(world.plan), data(y), f);
  return world.record_if(
      M{}, y,
      [gx = x.slot(), &world, x = x.value()]<class G>(Local<G, B> const& dy) {
        using C = Meeting<ChainRule, G, X, typename W::mesh>;
        auto const dx = world.template make<relaid_t<X, typename C::layout>>();
        if constexpr (B::has_elements)
          std::transform(data(x), data(x) + X::local_size(world.plan), data(dy), data(dx),
                         [](auto at, auto g) { return g * F::derivative(at); });
        gx.accumulate(dx);
      },
      x.slot());
}

/// The Gaussian error linear unit of one number.
struct Gelu {
  template <class T> static T share(T x) {
    return (1 + std::erf(x / std::numbers::sqrt2_v<T>)) / 2;
  }
  template <class T> T operator()(T x) const { return x * share(x); }
  template <class T> static T derivative(T x) {
    constexpr auto density_at_zero = std::numbers::inv_sqrtpi_v<T> / std::numbers::sqrt2_v<T>;
    return share(x) + x * density_at_zero * std::exp(-x * x / 2);
  }
};

/// The sigmoid linear unit of one number.
struct Silu {
  template <class T> T operator()(T x) const { return x / (1 + std::exp(-x)); }
  template <class T> static T derivative(T x) {
    auto const s = 1 / (1 + std::exp(-x));
    return s * (1 + x * (1 - s));
  }
};

}  // namespace detail

/// Gaussian error linear unit, element by element.
template <class X, class W> constexpr auto gelu(Var<X, W> const& x) {
  return detail::apply(detail::Gelu{}, x);
}

/// Sigmoid linear unit, element by element.
template <class X, class W> constexpr auto silu(Var<X, W> const& x) {
  return detail::apply(detail::Silu{}, x);
}

}  // namespace nxd
