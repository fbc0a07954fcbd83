// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/autodiff/elementwise.hpp>
#include <nxd/tensor/product.hpp>
#include <nxd/tensor/product_pieces.hpp>

namespace nxd {

namespace detail {

template <class... Ds> Summed<Ds...> summed(Shape<Ds...>);
template <class... Ds> Kept<Ds...> kept(Shape<Ds...>);

/// What becomes of the dimensions that X and Y share, if their product has shape S.
template <class S, class X, class Y> struct Roles {
  using shared = decltype(common(typename X::shape{}, typename Y::shape{}));
  using summed = decltype(without(shared{}, S{}));
  using rule =
      Contraction<decltype(detail::summed(summed{})), decltype(kept(common(shared{}, S{})))>;
};

template <class S, class X, class Y, class W>
using product_t = Meeting<typename Roles<S, X, Y>::rule, X, Y, typename W::mesh>;

template <class S, class X, class Y, class W>
using product_tensor_t = Tensor<typename X::element, S, typename product_t<S, X, Y, W>::layout>;

template <class X, class... Ds> constexpr std::int64_t local_terms(auto const& plan, Shape<Ds...>) {
  return (X::template local_extent<Ds>(plan) * ... * 1);
}

/// Whether pieces of a product have the bits of the whole; where kernels do not say so, there are
/// none.
template <class B> bool has_alike_pieces(Product const& p, auto const* x) {
  if constexpr (requires { B::kernels::has_alike_pieces(p, x); })
    return B::kernels::has_alike_pieces(p, x);
  else
    return false;
}

/// z = x y, or z += x y. On plain tensors: nothing here knows of gradients, and so the pullbacks
/// below are checked by the very rules that check the forward pass. In pieces, while messages wait
/// for their turn.
template <class Z, class W, class X, class Y, class B>
constexpr void multiply(W& world, Local<X, B> const& x, Local<Y, B> const& y, auto* z,
                        bool accumulate) {
  auto const product = product_of<X, Y, Z>(world.plan);
  auto const* const turn = world.turn();
  if (turn == nullptr || !has_alike_pieces<B>(product, data(x))) {
    B::kernels::multiply(product, data(x), data(y), z, accumulate);
    if (turn != nullptr) (*turn)();
  } else {
    in_pieces(product, data(x), data(y), z, [&](Product const& p, auto... operands) {
      B::kernels::multiply(p, operands..., accumulate);
      (*turn)();
    });
  }
}

template <class Z, class X, class Y, class W> constexpr void bill_product(W& world) {
  auto const terms = local_terms<X>(world.plan, typename Roles<typename Z::shape, X, Y>::summed{});
  world.ledger.flops += 2 * terms * Z::local_size(world.plan);
}

template <class S, class W, class X, class Y, class B>
constexpr auto contract(W& world, Local<X, B> const& x, Local<Y, B> const& y) {
  using Z = product_tensor_t<S, X, Y, W>;
  bill_product<Z, X, Y>(world);
  auto const z = world.template make<Z>();
  if constexpr (has_kernels<B>) multiply<Z>(world, x, y, data(z), false);
  return z;
}

/// Adds the product of x and y to a gradient, in place, now or when the world says so.
template <class Of, class W, class X, class Y, class B>
constexpr void contract_into(Slot<Of, W> const& slot, W& world, Local<X, B> const& x,
                             Local<Y, B> const& y) {
  using Z = with_element_t<product_tensor_t<typename Of::shape, X, Y, W>, typename Of::element>;
  world.make_gradient(slot, [slot, &world, x, y] {
    bill_product<Z, X, Y>(world);
    slot.template gather<Z>([&]([[maybe_unused]] auto* z, [[maybe_unused]] bool accumulate) {
      multiply<Z>(world, x, y, z, accumulate);
    });
  });
}

/// The dimensions that X and Y do not share.
template <class X, class Y>
using unshared_t = decltype(without(typename X::shape{}, typename Y::shape{}) +
                            without(typename Y::shape{}, typename X::shape{}));

/// The dimensions of a product S of X and Y that neither of them has, and those it should have and
/// has not.
template <class S, class X, class Y>
using foreign_t = decltype(without(without(S{}, typename X::shape{}), typename Y::shape{}));
template <class S, class X, class Y> using missing_t = decltype(without(unshared_t<X, Y>{}, S{}));

}  // namespace detail

/// Every dimension of the result comes from an operand, and what only one of them has stays.
template <class S, class X, class Y>
inline constexpr bool is_product_of = std::is_same_v<detail::foreign_t<S, X, Y>, Shape<>>&&
    std::is_same_v<detail::missing_t<S, X, Y>, Shape<>>;

template <class T, class U> inline constexpr bool is_one_element_type = std::same_as<T, U>;

/// The products of x and y, summed over every dimension that S lacks: the matrix products of every
/// index that x, y and S share. In: x[Kept, M, Summed], y[Kept, N, Summed], in any order. Out:
/// z[S]. Cost: 2 * Kept * M * N * Summed FLOPs; twice that in the backward pass.
template <class S, class X, class Y, class W>
constexpr auto contract(Var<X, W> const& x, Var<Y, W> const& y) {
  static_assert(is_product_of<S, X, Y>,
                "contract: only what both operands have is summed, and nothing is made up");
  static_assert(nxd::is_one_element_type<typename X::element, typename Y::element>,
                "contract: the operands have different element types; cast one of them");
  auto& world = x.world();
  using M = detail::product_t<S, X, Y, W>;
  if constexpr (!is_product_of<S, X, Y> ||
                !is_one_element_type<typename X::element, typename Y::element>) {
    return world.constant(world.template make<detail::product_tensor_t<S, X, Y, W>>());
  } else {
    M::check();
    return world.record_if(
        M{}, detail::contract<S>(world, x.value(), y.value()),
        [gx = x.slot(), gy = y.slot(), &world, x = x.value(), y = y.value()](auto const& dz) {
          detail::contract_into(gx, world, dz, y);
          detail::contract_into(gy, world, x, dz);
        },
        x.slot(), y.slot());
  }
}

/// Likewise, summed over every dimension that x and y share.
template <class X, class Y, class W>
constexpr auto contract(Var<X, W> const& x, Var<Y, W> const& y) {
  return contract<detail::unshared_t<X, Y>>(x, y);
}

/// A weight Y can be multiplied with elements E: it is of them, or of what they are summed in.
template <class E, class Y>
inline constexpr bool can_round =
    std::same_as<E, typename Y::element> || std::same_as<accumulator_t<E>, typename Y::element>;

namespace detail {

/// Records that z is the product of x and a weight, which was rounded for it if it had to be.
template <class Z, class X, class Y, class W>
constexpr auto record_product(Var<X, W> const& x, Var<Y, W> const& weight,
                              Local<Z, typename W::backend> const& z) {
  using E = typename X::element;
  auto& world = x.world();
  return world.record_if(
      product_t<typename Z::shape, X, Y, W>{}, z,
      [gx = x.slot(), gw = weight.slot(), &world, x = x.value(),
       weight = weight.value()](auto const& dz) {
        if (gx.wanted()) contract_into(gx, world, dz, cast<E>(world, weight));
        contract_into(gw, world, x, dz);
      },
      x.slot(), weight.slot());
}

}  // namespace detail

/// Likewise, with a weight that may be of floats where x is of bf16: it is rounded for each
/// product, and its gradient is summed in floats. Cost: a pass over the weight more, each time.
template <class X, class Y, class W>
constexpr auto contract_rounded(Var<X, W> const& x, Var<Y, W> const& weight) {
  using E = typename X::element;
  if constexpr (std::same_as<E, typename Y::element>) {
    return contract(x, weight);
  } else {
    static_assert(nxd::is_one_element_type<typename Y::element, accumulator_t<E>>,
                  "contract_rounded: the weight is of neither what x is, nor what it is summed in");
    using S = detail::unshared_t<X, Y>;
    detail::product_t<S, X, Y, W>::check();
    auto& world = x.world();
    return detail::record_product(
        x, weight, detail::contract<S>(world, x.value(), cast<E>(world, weight.value())));
  }
}

/// Refuses operands of different worlds.
template <class X, class Y, class V, OtherThan<V> W>
constexpr auto contract(Var<X, V> const&, Var<Y, W> const& y) {
  static_assert(is_one_world<V, W>, "contract: the operands belong to different worlds");
  return y;
}

}  // namespace nxd
