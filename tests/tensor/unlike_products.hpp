// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include <nxd/tensor/product.hpp>

/// Products of x, of b m k elements, and y, of b n k: operands that lie each way, with a loop
/// around them, sums outside, and what is no product of matrices.
inline std::vector<nxd::Product> unlike_products(std::int64_t b, std::int64_t m, std::int64_t n,
                                                 std::int64_t k) {
  using nxd::Loop;
  Loop const once{1, 0, 0, 0};
  return {{{m, k, 0, n}, {n, 0, k, 1}, {k, 1, 1, 0}, {Loop{b, m * k, n * k, m * n}}, 1},
          {{m, k, 0, n}, {n, 0, 1, 1}, {k, 1, n, 0}, {Loop{b, m * k, n * k, m * n}}, 1},
          {{m, 1, 0, n}, {n, 0, 1, 1}, {k, m, n, 0}, {Loop{b, m * k, n * k, m * n}}, 1},
          {{m, 1, 0, 1}, {n, 0, k, m}, {k, m, 1, 0}, {Loop{b, m * k, n * k, m * n}}, 1},
          {{m, k, 0, n}, {n, 0, k, 1}, {k, 1, 1, 0}, {Loop{b, m * k, n * k, 0}}, 1},
          {once, once, once, {Loop{m, k, 0, k}, Loop{k, 1, 1, 1}}, 2},
          {once, once, {m, k, k, 0}, {Loop{k, 1, 1, 1}}, 1},
          {once, once, {m * k, 1, 1, 0}, {}, 0},
          {{m, k, 0, 1}, once, {k, 1, 1, 0}, {}, 0}};
}
