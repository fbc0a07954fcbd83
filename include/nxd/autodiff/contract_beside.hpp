// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tuple>

#include <nxd/autodiff/redistribute_beside.hpp>
#include <nxd/autodiff/rows_of_product.hpp>

namespace nxd {

namespace detail {

/// The operands can meet, and what is moved can.
template <class To, class X, class W, class... Ys>
inline constexpr bool can_move_and_meet =
    can_move<placement_t<X, typename To::axis>, To, typename X::layout> &&
    (product_t<unshared_t<placed_t<X, To>, Ys>, placed_t<X, To>, Ys, W>::ok && ...);

}  // namespace detail

/// x weight^T, taken to placement To: `redistribute<To>(contract_rounded(x, weight))`. If the world
/// has what carries it, rows of the product are summed over ranks while others are made; likewise,
/// in the backward pass, rows of its gradient are multiplied as they come.
template <Placement To, class X, class Y, class W>
constexpr auto contract_to(Var<X, W> const& x, Var<Y, W> const& weight) {
  using E = typename X::element;
  using Z = detail::product_tensor_t<detail::unshared_t<X, Y>, X, Y, W>;
  using From = placement_t<Z, typename To::axis>;
  if constexpr (!can_round<E, Y> || !detail::product_t<typename Z::shape, X, Y, W>::ok ||
                !detail::can_move<From, To, typename Z::layout>) {
    return redistribute<To>(contract_rounded(x, weight));
  } else {
    auto& world = x.world();
    auto const make = [&] {
      auto const rounded = cast<E>(world, weight.value());
      auto const z = world.template make<Z>();
      detail::bill_product<Z, X, Y>(world);
      return detail::redistribute_while_made<To>(
          world, z, detail::ProductRows<X, Y>(world.plan), [&](auto const& order) {
            detail::make_rows(order, detail::rows_of_product<Z>(world, order, x.value(), rounded,
                                                                data(z), false));
          });
    };
    return world.record(
        make(),
        [gx = x.slot(), gw = weight.slot(), &world, x = x.value(),
         weight = weight.value()](auto const& dy) {
          world.make_put_off();
          using DZ = gradient_t<Z, typename W::mesh>;
          auto const dz =
              detail::redistribute_while_used<cotangent_t<From>>(
                  world, dy, detail::ProductRows<DZ, Y>(world.plan),
                  [&](auto const& order, auto const& whole) {
                    if (gx.wanted())
                      detail::contract_into(gx, world, whole, cast<E>(world, weight), order);
                    return 0;
                  })
                  .first;
          detail::contract_into(gw, world, x, dz);
        },
        x.slot(), weight.slot());
  }
}

/// The products of x, taken to placement To, with weights, a tuple: `contract_rounded(y, weight)`
/// of each, y being `redistribute<To>(x)`. If the world has what carries it, rows of x are
/// multiplied as they come from other ranks.
template <Placement To, class X, class W, class... Ys>
constexpr auto contract_from(Var<X, W> const& x, Var<Ys, W> const&... weights) {
  if constexpr (!(can_round<typename X::element, Ys> && ...) ||
                !detail::can_move_and_meet<To, X, W, Ys...>) {
    auto const y = redistribute<To>(x);
    return std::tuple{contract_rounded(y, weights)...};
  } else {
    auto& world = x.world();
    auto const [value, products] = detail::redistribute_while_used<To>(
        world, x.value(), detail::ProductRows<placed_t<X, To>, Ys...>(world.plan),
        [&](auto const& order, auto const& whole) {
          return detail::products_of(world, order, whole, weights.value()...);
        });
    auto const y = detail::record_move<To>(x, value);
    return std::apply(
        [&](auto const&... z) { return std::tuple{detail::record_product(y, weights, z)...}; },
        products);
  }
}

}  // namespace nxd
