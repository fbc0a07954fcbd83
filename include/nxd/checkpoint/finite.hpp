// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include <nxd/core/dtype.hpp>

namespace nxd {

namespace detail {

/// None of these floats has an exponent of ones alone, as infinities and NaNs do.
template <class Bits> bool none_has(Bits exponent, std::span<std::byte const> bytes) {
  bool none = true;
  for (std::size_t at = 0; at + sizeof(Bits) <= bytes.size(); at += sizeof(Bits)) {
    Bits bits;
    std::memcpy(&bits, bytes.data() + at, sizeof bits);
    none &= (bits & exponent) != exponent;
  }
  return none;
}

}  // namespace detail

/// All elements are numbers; integers always are. Cost: a read of the bytes.
inline bool all_finite(DType type, std::span<std::byte const> bytes) {
  switch (type) {
    case DType::f32: return detail::none_has<std::uint32_t>(0x7f800000u, bytes);
    case DType::f64: return detail::none_has<std::uint64_t>(0x7ff0000000000000u, bytes);
    case DType::bf16: return detail::none_has<std::uint16_t>(0x7f80u, bytes);
    case DType::f16: return detail::none_has<std::uint16_t>(0x7c00u, bytes);
    case DType::i32:
    case DType::i64: return true;
  }
  return true;
}

}  // namespace nxd
