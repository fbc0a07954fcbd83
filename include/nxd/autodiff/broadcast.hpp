// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/autodiff/contract.hpp>
#include <nxd/autodiff/elementwise.hpp>

namespace nxd {

namespace detail {

/// How ones along dimensions S are placed to meet a tensor that is placed as P.
template <class P, class S> struct OnesBeside { using type = Replicate<typename P::axis>; };
template <class A, class S> struct OnesBeside<Invariant<A>, S> { using type = Invariant<A>; };
template <class D, class A, class C, class... Ds>
requires among<D, Ds...>
struct OnesBeside<Shard<D, A, C>, Shape<Ds...>> {
  using type = Shard<D, A, C>;
};
template <class D, class A, class C, class... Ds>
requires among<D, Ds...>
struct OnesBeside<PartialShard<D, A, C>, Shape<Ds...>> {
  using type = Shard<D, A, C>;
};

template <class S, class... Ps>
auto ones_layout(Layout<Ps...>) -> decltype(merge(typename OnesBeside<Ps, S>::type{}...));

}  // namespace detail

/// Ones of shape S, placed so that they meet an X.
template <class S, class X>
using ones_t =
    Tensor<typename X::element, S, decltype(detail::ones_layout<S>(typename X::layout{}))>;

namespace detail {

template <class S, class X, class W> constexpr auto ones_beside(W& world) {
  using Ones = ones_t<S, X>;
  return world.constant(world.template make<Ones>([](auto) { return 1; }));
}

}  // namespace detail

/// The sum of x over dimensions Ds. Where one of them is split over an axis, it is a term of the
/// sum on each rank: `Partial`. Backward, the gradient is the same for all that were summed.
template <TensorDim... Ds, class X, class W> constexpr auto sum_over(Var<X, W> const& x) {
  using S = decltype(detail::without(typename X::shape{}, Shape<Ds...>{}));
  return contract<S>(x, detail::ones_beside<Shape<Ds...>, X>(x.world()));
}

/// x + b, the same b for all that it has no dimension for: a bias of every token. Where x awaits a
/// sum, every rank would add it, and so that is refused. Backward, the gradient of b is the sum
/// over those.
template <class X, class Y, class W>
constexpr auto add_bias(Var<X, W> const& x, Var<Y, W> const& b) {
  using Missing = decltype(detail::without(typename X::shape{}, typename Y::shape{}));
  return x + contract<typename X::shape>(detail::ones_beside<Missing, X>(x.world()), b);
}

}  // namespace nxd
