// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#ifdef _OPENMP
#include <omp.h>
#endif

#include <nxd/core/dtype.hpp>

namespace nxd {

/// A matrix of bf16 in memory as an operand of a product: some vectors, its lines, along which is
/// summed. One of the strides is 1.
struct Bf16Operand {
  bf16 const* at;
  std::int64_t line_stride;  ///< from a line to the next
  std::int64_t k_stride;     ///< from an element of a line to the next

  /// What begins `line` lines and `k` elements later.
  constexpr Bf16Operand from(std::int64_t line, std::int64_t k) const {
    return {at + line * line_stride + k * k_stride, line_stride, k_stride};
  }
};

/// The operand whose lines are the rows of a matrix; rows are `stride` elements apart.
constexpr Bf16Operand by_rows(bf16 const* at, std::int64_t stride) { return {at, stride, 1}; }

/// The operand whose lines are the columns of a matrix; rows are `stride` elements apart.
constexpr Bf16Operand by_columns(bf16 const* at, std::int64_t stride) { return {at, 1, stride}; }

/// On which side of a product an operand stands: x or y of z = x y.
enum class OperandSide { left, right };

namespace detail {

/// The length of parts that are about equally long, at most `most` of them and at least one.
constexpr std::int64_t even_length(std::int64_t length, std::int64_t most) {
  auto const parts = std::max<std::int64_t>(1, (length + most - 1) / most);
  return std::max<std::int64_t>(1, (length + parts - 1) / parts);
}

constexpr std::int64_t parts_of(std::int64_t length, std::int64_t part) {
  return (length + part - 1) / part;
}

/// How many threads a product of so many multiplications is worth.
inline int product_threads([[maybe_unused]] std::int64_t multiplications) {
#ifdef _OPENMP
  constexpr std::int64_t worth_it = std::int64_t{1} << 21;
  if (multiplications > worth_it) return omp_get_max_threads();
#endif
  return 1;
}

}  // namespace detail

}  // namespace nxd
