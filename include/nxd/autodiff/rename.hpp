// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/autodiff/world.hpp>

namespace nxd {

namespace detail {

template <class From, class To, class D>
using renamed_dim = std::conditional_t<std::same_as<D, From>, To, D>;

template <class From, class To, class P> P renamed(P);
template <class From, class To, class D, class A, class C>
Shard<renamed_dim<From, To, D>, A, C> renamed(Shard<D, A, C>);
template <class From, class To, class D, class A, class C>
PartialShard<renamed_dim<From, To, D>, A, C> renamed(PartialShard<D, A, C>);
template <class From, class To, class T, class... Ds, class... Ps>
auto renamed(Tensor<T, Shape<Ds...>, Layout<Ps...>>)
    -> Tensor<T, Shape<renamed_dim<From, To, Ds>...>,
              Layout<decltype(detail::renamed<From, To>(Ps{}))...>>;

}  // namespace detail

/// A dimension and its new name have one extent. What is not known yet is not judged yet.
constexpr Verdict check_rename(std::int64_t from, std::int64_t to) {
  if (from == dynamic || to == dynamic || from == to) return {};
  return {Rule::renamed_dim_must_keep_its_extent, from, to};
}

/// x with dimension From called To, so that it does not meet a From: the keys of a sequence are
/// not its queries. Nothing moves. @throws PlanError if the two differ in extent.
template <TensorDim From, TensorDim To, class X, class W>
constexpr auto rename(Var<X, W> const& x) {
  using B = typename W::backend;
  using Plan = typename W::plan_type;
  constexpr auto verdict =
      check_rename(Plan::template static_extent<From>, Plan::template static_extent<To>);
  static_assert(nxd::accepted<verdict.broken, verdict.lhs, verdict.rhs>,
                "rename: the new name has another extent in the plan");
  auto& world = x.world();
  require(To::name, check_rename(extent<From>(world.plan), extent<To>(world.plan)));
  using Y = decltype(detail::renamed<From, To>(X{}));
  return world.record(
      as<Y>(x.value()),
      [gx = x.slot()]<class G>(Local<G, B> const& dy) {
        gx.accumulate(as<decltype(detail::renamed<To, From>(G{}))>(dy));
      },
      x.slot());
}

}  // namespace nxd
