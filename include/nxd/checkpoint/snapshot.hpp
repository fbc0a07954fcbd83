// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif

#include <nxd/checkpoint/piece.hpp>
#include <nxd/core/expects.hpp>
#include <nxd/tensor/meter.hpp>

namespace nxd {

/// The bytes of all pieces.
inline std::int64_t total_bytes(std::vector<Piece> const& pieces) {
  std::int64_t sum = 0;
  for (auto const& piece : pieces) sum += std::ssize(piece.bytes);
  return sum;
}

/// Memory of backend B for a copy of what a rank saves: made once, of one size, and used by every
/// save. It counts as `MemoryUse::snapshot`.
template <class B> class Snapshot {
  using T = typename B::element;
  static constexpr auto element_bytes = static_cast<std::int64_t>(sizeof(T));

 public:
  /// Room for pieces of `bytes` in all. The system gives the memory now, not at the first copy.
  explicit Snapshot(std::int64_t bytes) : bytes_(bytes) {
    For<B> const purpose(MemoryUse::snapshot);
    auto const elements = (bytes + element_bytes - 1) / element_bytes;
    buffer_ = B::template allocate<T>(elements);
    if constexpr (B::has_elements) std::fill_n(B::data(buffer_), elements, T{});
  }

  /// Pieces that are what `pieces` are now, whatever becomes of those. They last until the next
  /// copy. Cost: a copy of the bytes, over the rank's threads.
  std::vector<Piece> copy(std::vector<Piece> const& pieces) {
    NXD_EXPECTS(total_bytes(pieces) <= bytes_);
    auto* to = reinterpret_cast<std::byte*>(B::data(buffer_));
    auto const block_bytes = std::max(
        least_block, static_cast<std::size_t>(bytes_) / static_cast<std::size_t>(4 * threads()));
    std::vector<Block> blocks;
    auto copies = pieces;
    for (auto& piece : copies) {
      for (std::size_t at = 0; at < piece.bytes.size(); at += block_bytes)
        blocks.push_back(
            {piece.bytes.data() + at, to + at, std::min(block_bytes, piece.bytes.size() - at)});
      piece.bytes = {to, piece.bytes.size()};
      to += piece.bytes.size();
    }
#pragma omp parallel for schedule(static) if (blocks.size() > 1)
    for (std::size_t i = 0; i < blocks.size(); ++i)
      std::memcpy(blocks[i].to, blocks[i].from, blocks[i].bytes);
    return copies;
  }

  std::int64_t bytes() const { return bytes_; }

 private:
  static constexpr std::size_t least_block = std::size_t{1} << 20;  ///< the larger the faster

  static int threads() {
#ifdef _OPENMP
    return omp_get_max_threads();
#else
    return 1;
#endif
  }

  struct Block {
    std::byte const* from;
    std::byte* to;
    std::size_t bytes;
  };

  std::int64_t bytes_;
  typename B::template buffer<T> buffer_;
};

}  // namespace nxd
