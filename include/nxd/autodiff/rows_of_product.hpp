// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <tuple>

#include <nxd/autodiff/beside.hpp>
#include <nxd/autodiff/contract.hpp>

namespace nxd::detail {

/// The rows of products of x[Rows, Summed] with weights, and the multiplications of each.
template <class X, class Y, class... Ys> struct ProductRows {
  using dims = decltype(without(typename X::shape{}, typename Y::shape{}));
  std::int64_t count, work;

  constexpr explicit ProductRows(auto const& plan) : count(local_terms<X>(plan, dims{})) {
    auto const columns = [&]<class V>(std::type_identity<V>) {
      return local_terms<V>(plan, decltype(without(typename V::shape{}, typename X::shape{})){});
    };
    work = X::local_size(plan) / count *
           (columns(std::type_identity<Y>{}) + ... + columns(std::type_identity<Ys>{}));
  }
};

/// A product z = x y, or z += x y, that can be made whole, or some rows at a time.
template <class Z, class X, class Y, class T, class W> class RowsOfProduct {
  using B = typename W::backend;

 public:
  RowsOfProduct(W& world, RowPieces const& pieces, Local<X, B> const& x, Local<Y, B> const& y, T* z,
                bool accumulate)
      : world_(world),
        product_(product_of<X, Y, Z>(world.plan)),
        x_(x),
        y_(y),
        z_(z),
        accumulate_(accumulate),
        is_cut_(can_be_cut(pieces)) {}

  /// It is made some rows at a time.
  bool is_cut() const { return is_cut_; }

  void make() const {
    if constexpr (has_kernels<B>) multiply<Z>(world_, x_, y_, z_, accumulate_);
  }
  void make(RowRange const& rows, auto const& order) const {
    compute<B>([&](auto k) {
      in_pieces(of(rows), advance(data(x_), rows.first * product_.rows.x), data(y_),
                advance(z_, rows.first * product_.rows.z),
                [&](Product const& piece, auto... operands) {
                  k.multiply(piece, operands..., accumulate_);
                  order.go_on();
                });
    });
  }

 private:
  Product of(RowRange const& rows) const {
    auto piece = product_;
    piece.rows.extent = rows.count;
    return piece;
  }

  /// Its rows are those of the exchange, and pieces, none of which is so small that kernels make
  /// it as they make small products, have the bits of the whole.
  bool can_be_cut(RowPieces const& pieces) const {
    constexpr std::int64_t least_work = std::int64_t{1} << 20;
    auto const& rows = product_.rows;
    auto const alike = [&](Product const& p) {
      return p.rows.extent * p.columns.extent * p.summed.extent >= least_work &&
             has_alike_pieces<B>(p, data(x_));
    };
    bool can = pieces.count() > 0 && rows.extent == pieces.rows() && product_.batches == 0 &&
               rows.x * rows.extent == X::local_size(world_.plan) &&
               rows.z * rows.extent == Z::local_size(world_.plan) && alike(product_);
    for (std::int64_t i = 0; can && i < pieces.pieces; ++i) can = alike(of(pieces[i]));
    return can;
  }

  W& world_;
  Product product_;
  Local<X, B> const& x_;
  Local<Y, B> const& y_;
  T* z_;
  bool accumulate_, is_cut_;
};

/// z = x y, or z += x y, to be made in such an order.
template <class Z, class X, class Y, class T, class B, class W>
auto rows_of_product(W& world, auto const& order, Local<X, B> const& x, Local<Y, B> const& y, T* z,
                     bool accumulate) {
  return RowsOfProduct<Z, X, Y, T, W>(world, order.pieces, x, y, z, accumulate);
}

/// Makes products, in such an order.
constexpr void make_rows(auto const& order, auto const&... products) {
  if ((products.is_cut() || ...))
    order.in_turn([&](RowRange const& rows) {
      ((products.is_cut() ? products.make(rows, order) : void()), ...);
    });
  if ((!products.is_cut() || ...))
    order.at_once([&] { ((products.is_cut() ? void() : products.make()), ...); });
}

/// `contract_into`, the product made in such an order.
template <class Of, class W, class X, class Y, class B>
constexpr void contract_into(Slot<Of, W> const& slot, W& world, Local<X, B> const& x,
                             Local<Y, B> const& y, auto const& order) {
  using Z = with_element_t<product_tensor_t<typename Of::shape, X, Y, W>, typename Of::element>;
  if (!slot.wanted()) return;
  if (slot.outlives_steps()) return order.at_once([&] { contract_into(slot, world, x, y); });
  world.make_gradient(slot, [&] {
    bill_product<Z, X, Y>(world);
    slot.template gather<Z>([&](auto* z, bool accumulate) {
      make_rows(order, rows_of_product<Z>(world, order, x, y, z, accumulate));
    });
  });
}

/// The products of x and each weight, rounded to what x is of, in such an order.
template <class Order, class W, class X, class B, class... Ys>
constexpr auto products_of(W& world, Order const& order, Local<X, B> const& x,
                           Local<Ys, B> const&... weights) {
  using E = typename X::element;
  if constexpr (std::same_as<Order, InOneGo>) {
    return std::tuple{contract<unshared_t<X, Ys>>(world, x, cast<E>(world, weights))...};
  } else {
    (bill_product<product_tensor_t<unshared_t<X, Ys>, X, Ys, W>, X, Ys>(world), ...);
    std::tuple const rounded{cast<E>(world, weights)...};
    std::tuple const made{world.template make<product_tensor_t<unshared_t<X, Ys>, X, Ys, W>>()...};
    [&]<std::size_t... Is>(std::index_sequence<Is...>) {
      make_rows(order,
                rows_of_product<product_tensor_t<unshared_t<X, Ys>, X, Ys, W>>(
                    world, order, x, std::get<Is>(rounded), data(std::get<Is>(made)), false)...);
    }
    (std::index_sequence_for<Ys...>{});
    return made;
  }
}

}  // namespace nxd::detail
