// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

#include <nxd/dist/shapes.hpp>
#include <nxd/tensor/kernels/sizes.hpp>

namespace nxd {

namespace detail {

/// The loops over some dimensions of a product, neighbours in memory made one, the outermost first.
struct Loops {
  std::array<Loop, 8> loops{};
  int count = 0;

  constexpr void add(Loop inner) {
    if (inner.extent == 1) return;
    if (count > 0) {
      auto& outer = loops[static_cast<std::size_t>(count - 1)];
      if (outer.x == inner.extent * inner.x && outer.y == inner.extent * inner.y &&
          outer.z == inner.extent * inner.z) {
        outer = {outer.extent * inner.extent, inner.x, inner.y, inner.z};
        return;
      }
    }
    loops[static_cast<std::size_t>(count++)] = inner;
  }

  /// Takes out the longest loop: the one that a matrix product runs over.
  constexpr Loop take_longest() {
    if (count == 0) return {1, 0, 0, 0};
    auto longest = std::size_t{0};
    for (std::size_t i = 1; i < static_cast<std::size_t>(count); ++i)
      if (loops[i].extent > loops[longest].extent) longest = i;
    auto const taken = loops[longest];
    for (auto i = longest; i + 1 < static_cast<std::size_t>(count); ++i) loops[i] = loops[i + 1];
    --count;
    return taken;
  }
};

/// The distance between neighbours along D in a rank's part of X; 0 if X lacks D.
template <class X, class D> constexpr std::int64_t stride(auto const& plan) {
  std::int64_t stride = 0;
  [&]<class... Ds>(Shape<Ds...>) {
    ((stride = std::same_as<D, Ds> ? 1 : stride * X::template local_extent<Ds>(plan)), ...);
  }(typename X::shape{});
  return stride;
}

template <class X, class Y, class Z, class... Ds>
constexpr Loops loops_over(auto const& plan, Shape<Ds...>) {
  Loops all;
  [[maybe_unused]] auto const length = [&]<class D>(D) {
    if constexpr (is_dim_of<D, typename X::shape>)
      return X::template local_extent<D>(plan);
    else
      return Y::template local_extent<D>(plan);
  };
  (all.add({length(Ds{}), stride<X, Ds>(plan), stride<Y, Ds>(plan), stride<Z, Ds>(plan)}), ...);
  return all;
}

}  // namespace detail

/// How a rank's parts of x and y are multiplied into its part of z: one matrix product inside the
/// loops that it cannot swallow.
template <class X, class Y, class Z> constexpr Product product_of(auto const& plan) {
  using XS = typename X::shape;
  using YS = typename Y::shape;
  using ZS = typename Z::shape;
  using Shared = decltype(detail::common(XS{}, YS{}));
  using KeptDims = decltype(detail::common(ZS{}, Shared{}));
  using RowDims = decltype(detail::without(XS{}, YS{}));
  using ColumnDims = decltype(detail::without(YS{}, XS{}));
  using SummedDims = decltype(detail::without(Shared{}, ZS{}));
  auto const kept = detail::loops_over<X, Y, Z>(plan, KeptDims{});
  auto rows = detail::loops_over<X, Y, Z>(plan, RowDims{});
  auto columns = detail::loops_over<X, Y, Z>(plan, ColumnDims{});
  auto summed = detail::loops_over<X, Y, Z>(plan, SummedDims{});

  constexpr Loop once{1, 0, 0, 0};
  Product product{once, once, once, {}, 0};
  auto const repeat = [&](detail::Loops const& loops) {
    for (int i = 0; i < loops.count; ++i)
      product.batch[static_cast<std::size_t>(product.batches++)] =
          loops.loops[static_cast<std::size_t>(i)];
  };
  // A weight that scales: no matrix, and the innermost loop is the one that all of them share.
  if (bool const scales = kept.count > 0 && summed.count == 0; !scales || columns.count > 0) {
    if (!scales || rows.count > 0) product.rows = rows.take_longest();
    product.columns = columns.take_longest();
    product.summed = summed.take_longest();
  }
  repeat(summed);
  repeat(rows);
  repeat(columns);
  repeat(kept);
  return product;
}

}  // namespace nxd
