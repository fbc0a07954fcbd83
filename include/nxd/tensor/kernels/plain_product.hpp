// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/tensor/kernels/sizes.hpp>

namespace nxd {

/// Products: see `PlainKernels`.
template <class T> struct PlainProduct {
  /// z = x y, or z += x y; what is summed where is in the loops
  static void multiply(Product const& p, T const* x, T const* y, T* z, bool accumulate) {
    if (!accumulate) clear(p, 0, z);
    run(p, 0, x, y, z);
  }

 private:
  static void clear(Product const& p, int depth, T* z) {
    if (depth < p.batches) {
      auto const& loop = p.batch[static_cast<std::size_t>(depth)];
      for (std::int64_t i = 0; i < (loop.z == 0 ? 1 : loop.extent); ++i)
        clear(p, depth + 1, z + i * loop.z);
      return;
    }
    for (std::int64_t m = 0; m < p.rows.extent; ++m)
      for (std::int64_t n = 0; n < p.columns.extent; ++n) z[m * p.rows.z + n * p.columns.z] = T{};
  }

  static void run(Product const& p, int depth, T const* x, T const* y, T* z) {
    if (depth < p.batches) {
      auto const& loop = p.batch[static_cast<std::size_t>(depth)];
      for (std::int64_t i = 0; i < loop.extent; ++i)
        run(p, depth + 1, x + i * loop.x, y + i * loop.y, z + i * loop.z);
      return;
    }
    for (std::int64_t m = 0; m < p.rows.extent; ++m)
      for (std::int64_t n = 0; n < p.columns.extent; ++n) {
        T sum{};
        for (std::int64_t k = 0; k < p.summed.extent; ++k)
          sum += x[m * p.rows.x + k * p.summed.x] * y[n * p.columns.y + k * p.summed.y];
        z[m * p.rows.z + n * p.columns.z] += sum;
      }
  }
};

}  // namespace nxd
