// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/dist/tensor.hpp>

namespace nxd {

/// A plan has a number for T: an axis, a dimension, a count.
template <class T, class Plan> inline constexpr bool is_in_plan = Plan::template binds<T>;

namespace detail {

// Each fact is checked in a function of its own, once for all tensors that share it: one mistake
// gives one error.

template <class... Ps> constexpr bool check_axes(Layout<Ps...>) {
  static_assert(lists_each_axis_once<typename Ps::axis...>,
                "Layout: list each axis once, outermost first");
  return true;
}

template <class... Ps, class... Ds> constexpr bool check_dims(Layout<Ps...>, Shape<Ds...>) {
  static_assert((names_dim_of<Ps, Shape<Ds...>> && ...), "Tensor: only its dimensions are sharded");
  return true;
}

template <class T, class Plan> constexpr bool check_bound() {
  static_assert(is_in_plan<T, Plan>,
                "Plan: it has no number for an axis or a dimension of a tensor");
  return is_in_plan<T, Plan>;
}

template <class P, class Plan> constexpr bool check_slices() {
  if constexpr (!std::same_as<typename Slicing<P>::dim, void>) {
    using A = typename P::axis;
    using D = typename Slicing<P>::dim;
    using C = typename Slicing<P>::copies;
    constexpr auto ranks = Plan::template static_extent<A>;
    constexpr auto copies = [] {
      if constexpr (check_bound<C, Plan>())
        return Plan::template static_extent<C>;
      else
        return dynamic;
    }();
    constexpr auto verdict = check_copies(ranks, copies);
    static_assert(nxd::accepted<verdict.broken, verdict.lhs, verdict.rhs>,
                  "Shard: the copies of a slice must divide the ranks of its axis");
    if constexpr (verdict && ranks != dynamic && copies != dynamic)
      static_assert(nxd::splits_evenly<D, A, Plan::template static_extent<D>, ranks / copies>,
                    "a dimension must split evenly over the axis that it is sharded over");
  }
  return true;
}

/// A plan has room for a tensor, as far as types tell.
template <class Plan, class... Ps, class... Ds>
constexpr bool check_room(Layout<Ps...>, Shape<Ds...>) {
  constexpr bool bound =
      (check_bound<Ds, Plan>() && ...) && (check_bound<typename Ps::axis, Plan>() && ...);
  if constexpr (bound)
    return (check_slices<Ps, Plan>() && ...);
  else
    return true;
}

}  // namespace detail

}  // namespace nxd
