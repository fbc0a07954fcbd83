// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <functional>

#include <nxd/autodiff/rename.hpp>
#include <nxd/core/expects.hpp>

namespace nxd {

namespace detail {

/// Dimensions Group, Slot become To, and what Group was sharded over, To is.
template <class Group, class Slot, class To, class X>
using slots_t = decltype(renamed<Group, To>(
    Tensor<typename X::element, decltype(without(typename X::shape{}, Shape<Slot>{})),
           typename X::layout>{}));

/// Likewise for the gradient G of what was taken from an X.
template <class Group, class To, class X, class G>
using into_slots_t = Tensor<typename X::element, typename X::shape,
                            typename decltype(renamed<To, Group>(G{}))::layout>;

template <class Group, class Slot, class A, class B, class C, class... Ds>
consteval bool is_slotted(Shape<A, B, C, Ds...>) {
  if constexpr (sizeof...(Ds) > 0)
    return is_slotted<Group, Slot>(Shape<B, C, Ds...>{});
  else
    return std::same_as<A, Group> && std::same_as<B, Slot>;
}

}  // namespace detail

/// Shape S ends in Group, Slot and one dimension more.
template <class S, class Group, class Slot>
inline constexpr bool ends_in_slots = detail::is_slotted<Group, Slot>(S{});

/// Slots [first, first + count) of every Group, side by side, as dimension To: the queries, the key
/// or the value of each key head. In: x[..., Group, Slot, D], whole along Slot. Out: y[..., To, D],
/// To placed as Group is. @throws PlanError if To has another extent than they fill.
template <TensorDim Group, TensorDim Slot, TensorDim To, class X, class W>
constexpr auto take_slots(Var<X, W> const& x, std::int64_t first, std::int64_t count) {
  using B = typename W::backend;
  using M = Meeting<Along<Slot>, X, X, typename W::mesh>;
  M::check();
  static_assert(ends_in_slots<typename X::shape, Group, Slot>,
                "take_slots: x must end in Group, Slot and one dimension more");
  auto& world = x.world();
  require(To::name, check_rename(extent<Group>(world.plan) * count, extent<To>(world.plan)));
  using Y = detail::slots_t<Group, Slot, To, relaid_t<X, typename M::layout>>;
  auto const slots = extent<Slot>(world.plan);
  NXD_EXPECTS(first >= 0 && first + count <= slots);
  // What is taken of a group, and from one group to the next.
  auto const width = detail::last_extent<X>(world.plan);
  auto const run = count * width, stride = slots * width, offset = first * width;
  auto const y = world.template make<Y>();
  if constexpr (B::has_elements) {
    auto const* const from = data(x.value()) + offset;
    for (std::int64_t i = 0; i * stride < X::local_size(world.plan); ++i)
      std::copy_n(from + i * stride, run, data(y) + i * run);
  }
  return world.record_if(
      M{}, y,
      [gx = x.slot(), &world, run, stride, offset]<class G>(Local<G, B> const& dy) {
        using Z = detail::into_slots_t<Group, To, X, G>;
        gx.template gather<Z>([&]([[maybe_unused]] auto* to, [[maybe_unused]] bool accumulate) {
          if constexpr (!B::has_elements) return;
          auto const size = Z::local_size(world.plan);
          if (!accumulate) std::fill_n(to, size, typename X::element{});
          for (std::int64_t i = 0; i * stride < size; ++i)
            std::transform(data(dy) + i * run, data(dy) + (i + 1) * run, to + i * stride + offset,
                           to + i * stride + offset, std::plus{});
        });
      },
      x.slot());
}

}  // namespace nxd
