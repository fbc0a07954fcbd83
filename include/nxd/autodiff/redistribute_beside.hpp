// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include <nxd/autodiff/redistribute.hpp>

namespace nxd::detail {

/// How rows of x travel on their way to To while they are multiplied: no pieces if they do not.
template <class To, class X, class R>
RowPieces travelling_rows([[maybe_unused]] auto const& world, Line along,
                          [[maybe_unused]] R const& rows) {
  using From = placement_t<X, typename To::axis>;
  using W = std::remove_cvref_t<decltype(world)>;
  using B = typename W::backend;
  constexpr auto how = way<From, To>;
  constexpr bool sums = how == Way::all_reduce || how == Way::reduce_scatter;
  constexpr RowPieces none{.pieces = 0};
  if (world.beside == nullptr || along.count == 1) return none;
  if constexpr (!(B::has_elements || keeps_record<typename W::communicator>) ||
                (sums && !std::same_as<typename X::element, typename W::element>)) {
    return none;
  } else if constexpr (how == Way::all_reduce) {
    auto const pieces = pieces_of_rows(rows.count, rows.work);
    return pieces < 2 ? none : RowPieces{1, rows.count, pieces, 0};
  } else if constexpr (how == Way::reduce_scatter || how == Way::all_gather) {
    using D = moved_dim_t<From, To>;
    if constexpr (is_dim_of<D, typename R::dims>) {
      auto const whole = split_at<placed_t<X, Replicate<typename To::axis>>, D>(world.plan);
      auto const length = rows.count / (whole.outer * along.count);
      return {whole.outer * along.count, length, pieces_of_rows(length, rows.work), along.count};
    }
  }
  return none;
}

/// Takes x, which `make(order)` makes, to placement To: where that is a sum over ranks, rows leave
/// as they are made.
template <Placement To, class W, class X, class B>
constexpr auto redistribute_while_made(W& world, Local<X, B> const& x, auto const& rows,
                                       auto const& make) {
  using From = placement_t<X, typename To::axis>;
  constexpr auto how = way<From, To>;
  if constexpr (how == Way::all_reduce || how == Way::reduce_scatter) {
    auto const along = line_of<From>(world);
    if (auto const pieces = travelling_rows<To, X>(world, along, rows); pieces.count() > 0) {
      bill_move<To, X>(world, along);
      auto const y = world.template make<placed_t<X, To>>();
      auto& sum = world.beside->sum;
      [[maybe_unused]] auto const room = begin_sum(
          world, along, how == Way::all_reduce ? Exchange::all_reduce : Exchange::reduce_scatter,
          pieces, x, y);
      {
        Traced const span(world.trace, "beside", [] { return "product"; });
        make(BeforeSum<std::remove_cvref_t<decltype(sum)>>{pieces, along.place, sum});
      }
      sum.wait();
      return y;
    }
  }
  make(InOneGo{});
  return redistribute<To>(world, x);
}

/// Takes x to placement To, y, where `use(order, y)` multiplies it: where that is a gather, rows
/// are multiplied as they come. @return y, and what was made of it
template <Placement To, class W, class X, class B>
constexpr auto redistribute_while_used(W& world, Local<X, B> const& x, auto const& rows,
                                       auto const& use) {
  using From = placement_t<X, typename To::axis>;
  if constexpr (way<From, To> == Way::all_gather) {
    auto const along = line_of<From>(world);
    if (auto const pieces = travelling_rows<To, X>(world, along, rows); pieces.count() > 0) {
      bill_move<To, X>(world, along);
      auto const y = world.template make<placed_t<X, To>>();
      Travel<Way::embed>::template put<moved_dim_t<From, To>>(world, along, x, y);
      auto& gather = world.beside->gather;
      gather.post(world.comm, along, pieces, values(world.plan, y));
      auto const made = [&] {
        Traced const span(world.trace, "beside", [] { return "product"; });
        return use(AfterGather<std::remove_cvref_t<decltype(gather)>>{pieces, along.place, gather},
                   y);
      }();
      gather.wait();
      return std::pair(y, made);
    }
  }
  auto const y = redistribute<To>(world, x);
  return std::pair(y, use(InOneGo{}, y));
}

}  // namespace nxd::detail
