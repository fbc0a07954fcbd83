// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/optim/zero1.hpp>

namespace nxd {

namespace detail {

/// Takes the sums of a gradient that are not over the axes of Data: those of tensor parallelism.
template <class W, class G, class B>
constexpr auto settle_over(W&, Local<G, B> const& gradient, Mesh<>, auto) {
  return gradient;
}
template <class A, class... As, class W, class G, class B, class... Data>
constexpr auto settle_over(W& world, Local<G, B> const& gradient, Mesh<A, As...>,
                           Mesh<Data...> data) {
  using P = placement_t<G, A>;
  if constexpr (awaits_sum<P> && !axis_among<A, Data...>)
    return settle_over(world, redistribute<cotangent_t<P>>(world, gradient), Mesh<As...>{}, data);
  else
    return settle_over(world, gradient, Mesh<As...>{}, data);
}

template <class W, class A> constexpr Line line_along(W const& world, Mesh<A>) {
  return line<A>(world.plan, world.rank());
}
template <class W> constexpr Line line_along(W const& world, Mesh<>) {
  return {world.rank(), 1, 1, 0};
}

}  // namespace detail

/// Takes the sums that a gradient awaits over axes that are not data axes, such as those of a
/// norm's weight under sequence parallelism. What is left is what `Zero1` and `Replicated` take.
template <class Strategy, class W, class G, class B>
constexpr auto settle(W& world, Local<G, B> const& gradient) {
  using M = typename W::mesh;
  return detail::settle_over(world, gradient, M{}, typename Strategy::template axes<M>{});
}

/// A mesh in which ranks form a line, if any: of one axis, or of none.
template <class M> inline constexpr bool has_one_axis = false;
template <> inline constexpr bool has_one_axis<Mesh<>> = true;
template <class A> inline constexpr bool has_one_axis<Mesh<A>> = true;

/// A model whose parts are on several stages of a pipeline comes with the line of those that may
/// share a weight: `model.ends()`. Other models are whole on every rank.
template <class Model>
concept SharesWeightsBetweenStages = requires(Model const& model) {
  { model.ends() } -> std::same_as<Line>;
};

}  // namespace nxd
