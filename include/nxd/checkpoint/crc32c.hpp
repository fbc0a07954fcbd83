// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace nxd {

namespace detail {

consteval std::array<std::uint32_t, 256> crc32c_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    auto c = i;
    for (int bit = 0; bit < 8; ++bit) c = (c & 1) != 0 ? c >> 1 ^ 0x82f63b78u : c >> 1;
    table[i] = c;
  }
  return table;
}

/// One byte at a time: for processors without the instruction. Takes and gives the inverted state.
inline std::uint32_t crc32c_by_table(std::uint32_t state, std::span<std::byte const> bytes) {
  static constexpr auto table = crc32c_table();
  for (auto const b : bytes)
    state = state >> 8 ^ table[(state ^ std::to_integer<std::uint32_t>(b)) & 255];
  return state;
}

#if defined(__x86_64__)
/// Eight bytes an instruction (SSE 4.2).
__attribute__((target("sse4.2"))) inline std::uint32_t crc32c_by_instruction(
    std::uint32_t state, std::span<std::byte const> bytes) {
  std::uint64_t wide = state;
  std::size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    std::uint64_t word;
    std::memcpy(&word, bytes.data() + i, 8);
    wide = _mm_crc32_u64(wide, word);
  }
  auto narrow = static_cast<std::uint32_t>(wide);
  for (; i < bytes.size(); ++i)
    narrow = _mm_crc32_u8(narrow, std::to_integer<std::uint8_t>(bytes[i]));
  return narrow;
}
#endif

inline std::uint32_t crc32c_step(std::uint32_t state, std::span<std::byte const> bytes) {
#if defined(__x86_64__)
  static bool const fast = __builtin_cpu_supports("sse4.2") != 0;
  if (fast) return crc32c_by_instruction(state, bytes);
#endif
  return crc32c_by_table(state, bytes);
}

}  // namespace detail

/// CRC-32C (Castagnoli) of bytes that follow others whose CRC is `before`. Cost: about 5 GB/s with
/// SSE 4.2, 0.3 GB/s without.
inline std::uint32_t crc32c(std::span<std::byte const> bytes, std::uint32_t before = 0) {
  return ~detail::crc32c_step(~before, bytes);
}

/// A file is checked in pieces of this many bytes, so that a reader of a part need not read it all.
inline constexpr std::int64_t crc_chunk_bytes = std::int64_t{4} << 20;

/// The CRCs of a stream of bytes, one per `crc_chunk_bytes`.
class ChunkCrcs {
 public:
  void add(std::span<std::byte const> bytes) {
    while (!bytes.empty()) {
      if (filled_ == 0) crcs_.push_back(0);
      auto const room = static_cast<std::size_t>(crc_chunk_bytes - filled_);
      auto const part = bytes.first(bytes.size() < room ? bytes.size() : room);
      crcs_.back() = crc32c(part, crcs_.back());
      filled_ = (filled_ + static_cast<std::int64_t>(part.size())) % crc_chunk_bytes;
      bytes = bytes.subspan(part.size());
    }
  }

  /// Of all bytes so far.
  std::vector<std::uint32_t> const& crcs() const { return crcs_; }

 private:
  std::vector<std::uint32_t> crcs_;
  std::int64_t filled_ = 0;
};

}  // namespace nxd
