// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <utility>

#include <nxd/tensor/kernels/sizes.hpp>

namespace nxd::detail {

/// The same product with its operands exchanged.
constexpr Product turned(Product p) {
  auto const exchange = [](Loop l) { return Loop{l.extent, l.y, l.x, l.z}; };
  std::swap(p.rows, p.columns);
  for (auto* l : {&p.rows, &p.columns, &p.summed}) *l = exchange(*l);
  for (auto& l : p.batch) l = exchange(l);
  return p;
}

/// Neighbours along one of the two loops are neighbours in memory.
constexpr bool is_matrix(std::int64_t outer, std::int64_t summed, std::int64_t count) {
  return outer == 1 || summed == 1 || count == 1;
}

/// The innermost product is one of matrices in memory, whose results lie row by row.
constexpr bool is_matrix_product(Product const& p) {
  return is_matrix(p.rows.x, p.summed.x, p.summed.extent) &&
         is_matrix(p.columns.y, p.summed.y, p.summed.extent) &&
         (p.columns.z == 1 || p.columns.extent == 1);
}

/// A loop around the matrix products adds to the same results again.
constexpr bool sums_outside(Product const& p) {
  bool sums = false;
  for (int i = 0; i < p.batches; ++i) sums = sums || p.batch[static_cast<std::size_t>(i)].z == 0;
  return sums;
}

/// Calls `work(x, y, z)` for each round of the loops around the innermost product.
template <class X, class Y, class Z>
void for_each_product(Product const& p, int depth, X const* x, Y const* y, Z* z, auto const& work) {
  if (depth >= std::min(p.batches, static_cast<int>(p.batch.size()))) return work(x, y, z);
  auto const& loop = p.batch[static_cast<std::size_t>(depth)];
  for (std::int64_t i = 0; i < loop.extent; ++i)
    for_each_product(p, depth + 1, x + i * loop.x, y + i * loop.y, z + i * loop.z, work);
}

}  // namespace nxd::detail
