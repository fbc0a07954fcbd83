// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <string_view>

#include <nxd/tensor/kernels/sizes.hpp>

namespace nxd {

/// The kernels whose time is a matter of their elements alone.
enum class Kernel : std::uint8_t {
  add,
  cast,
  cast_stochastic,
  axpy,
  scale,
  transpose_blocks,
  sum_of_squares,
  max_abs,
  rms_norm,
  rms_norm_pull,
  softmax,
  softmax_pull,
  swiglu,
  swiglu_pull,
  rotate,
  gather_rows,
  scatter_add_rows,
  cross_entropy_stats,
  cross_entropy_pull,
  adamw,
  sgd,
};
/// Spellings.
constexpr auto names_of(Kernel) {
  return std::to_array<std::string_view>({"add",
                                          "cast",
                                          "cast_stochastic",
                                          "axpy",
                                          "scale",
                                          "transpose_blocks",
                                          "sum_of_squares",
                                          "max_abs",
                                          "rms_norm",
                                          "rms_norm_pull",
                                          "softmax",
                                          "softmax_pull",
                                          "swiglu",
                                          "swiglu_pull",
                                          "rotate",
                                          "gather_rows",
                                          "scatter_add_rows",
                                          "cross_entropy_stats",
                                          "cross_entropy_pull",
                                          "adamw",
                                          "sgd"});
}
inline constexpr std::size_t kernel_count = names_of(Kernel{}).size();

/// The query-key pairs that attention by tiles of 64 looks at: what a causal mask hides is skipped
/// tile by tile.
constexpr double scores_of(Attention const& s) {
  constexpr std::int64_t tile = 64;
  std::int64_t scores = 0;
  for (std::int64_t i = 0; i < s.queries; i += tile) {
    auto const m = std::min(tile, s.queries - i);
    auto const seen = s.causal ? std::min(s.keys, i + m + s.keys - s.queries) : s.keys;
    scores += m * seen;
  }
  return static_cast<double>(s.batch * s.heads) * static_cast<double>(scores);
}

/// Seconds that kernels take on some machine. The time of a product of [m, k] and [k, n] is taken
/// to be a sum over its arithmetic and over what it reads and writes; the others' is in proportion.
struct KernelPrices {
  double call = 1e-6;                               ///< each kernel, whatever it does
  std::array<double, kernel_count> element{};       ///< an element of what it makes
  std::array<double, 4> product{1.6e-11, 0, 0, 0};  ///< m n k, m k, n k, m n
  std::array<double, 2> attention{};                ///< a score; a score times head_dim
  std::array<double, 2> attention_pull{};

  KernelPrices() {
    element.fill(4e-10), attention = {1e-9, 7e-11}, attention_pull = {1e-9, 1.8e-10};
  }

  double of(Kernel kernel, std::int64_t elements) const {
    return call + element[static_cast<std::size_t>(kernel)] * static_cast<double>(elements);
  }

  double of(Product const& p) const {
    double times = 1;
    for (int i = 0; i < p.batches; ++i)
      times *= static_cast<double>(p.batch[static_cast<std::size_t>(i)].extent);
    auto const m = static_cast<double>(p.rows.extent), n = static_cast<double>(p.columns.extent);
    auto const k = static_cast<double>(p.summed.extent);
    if (p.rows.extent == 1 && p.columns.extent == 1)
      return call + times * k * element[static_cast<std::size_t>(Kernel::axpy)];
    return call + times * (product[0] * m * n * k + product[1] * m * k + product[2] * n * k +
                           product[3] * m * n);
  }

  double of(Attention const& s, bool pull) const {
    auto const& price = pull ? attention_pull : attention;
    return call + scores_of(s) * (price[0] + price[1] * static_cast<double>(s.head_dim));
  }

  bool operator==(KernelPrices const&) const = default;
};

}  // namespace nxd
