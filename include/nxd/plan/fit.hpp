// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

namespace nxd {

/// The x, none of them negative, for which the products of the rows with x are nearest to one, in
/// the least squares: measurements whose terms are divided by what was measured. By coordinate
/// descent, which is enough for a few terms.
inline std::vector<double> fit_to_ones(std::vector<std::vector<double>> const& rows) {
  auto const terms = rows.front().size();
  std::vector<double> x(terms, 0), rest(rows.size(), 1);
  for (int round = 0; round < 20000; ++round) {
    double moved = 0;
    for (std::size_t j = 0; j < terms; ++j) {
      double along = 0, length = 0;
      for (std::size_t i = 0; i < rows.size(); ++i) {
        along += rows[i][j] * rest[i];
        length += rows[i][j] * rows[i][j];
      }
      if (length == 0) continue;
      auto const next = std::max(0.0, x[j] + along / length), change = next - x[j];
      for (std::size_t i = 0; i < rows.size(); ++i) rest[i] -= change * rows[i][j];
      moved = std::max(moved, std::abs(change) * std::sqrt(length));
      x[j] = next;
    }
    if (moved < 1e-12) break;
  }
  return x;
}

}  // namespace nxd
