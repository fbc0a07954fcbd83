// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/core/expects.hpp>
#include <nxd/tensor/kernels/bf16_pack.hpp>
#include <nxd/tensor/kernels/scratch.hpp>

namespace nxd {

/// An operand laid out as the tiles of one side of a product read it: packed once, used in many
/// products. Its memory stays for the next `pack`. The matrix that it was packed from must outlive
/// it unchanged: where nothing multiplies tiles, nothing is packed, and products read the matrix
/// itself.
class PackedOperand {
 public:
  explicit PackedOperand(OperandSide side) : side_(side) {}

  /// Packs `lines` vectors of x, `k` long: 2 lines k bytes read, as many written, by all threads.
  void pack(std::int64_t lines, std::int64_t k, Bf16Operand x) {
    from_ = x, lines_ = lines, k_ = k, packed_ = nullptr;
#if defined(__x86_64__)
    if (!has_amx() && !has_avx512_bf16()) return;
    detail::Bf16Lines const all{x, lines, k};
    auto* const room = memory_.at_least(static_cast<std::size_t>(all.packed_bytes()));
    auto const threads = detail::product_threads(lines * k * 32);
#pragma omp parallel if (threads > 1)
    detail::pack_all(all, side_, room, threads);
    packed_ = room;
#endif
  }

  OperandSide side() const { return side_; }
  std::int64_t lines() const { return lines_; }
  std::int64_t k() const { return k_; }
  Bf16Operand from() const { return from_; }
  std::byte const* packed() const { return packed_; }  ///< null if it is not

 private:
  OperandSide side_;
  Bf16Operand from_{nullptr, 0, 1};
  std::int64_t lines_ = 0, k_ = 0;
  std::byte const* packed_ = nullptr;
  detail::Scratch memory_;
};

/// The weight w[N, K] of a linear layer, packed for both products that it is in: on the right of
/// y = x w^T as `forward`, on the right of dx = dy w as `backward`.
struct PackedWeight {
  PackedOperand forward{OperandSide::right}, backward{OperandSide::right};

  /// Rows of w are `stride` elements apart.
  void pack(bf16 const* w, std::int64_t rows, std::int64_t columns, std::int64_t stride) {
    forward.pack(rows, columns, by_rows(w, stride));
    backward.pack(columns, rows, by_columns(w, stride));
  }
};

/// What a product takes as an operand: a matrix as it lies, or one that is packed.
struct Bf16Source {
  Bf16Operand from;
  PackedOperand const* packed = nullptr;

  Bf16Source(Bf16Operand x) : from(x) {}
  Bf16Source(PackedOperand const& x) : from(x.from()), packed(&x) {}

  /// Whether it is an operand of `lines` vectors, `k` long, for that side.
  bool fits(OperandSide side, std::int64_t lines, std::int64_t k) const {
    return packed == nullptr ||
           (packed->side() == side && packed->lines() == lines && packed->k() == k);
  }
  std::byte const* tiles() const { return packed == nullptr ? nullptr : packed->packed(); }
};

}  // namespace nxd
