// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <span>
#include <string>

#include <nxd/checkpoint/box.hpp>
#include <nxd/core/dtype.hpp>

namespace nxd {

/// The nearest fp16, ties to even; beyond its range infinity, and a NaN stays one.
constexpr fp16 to_fp16(float x) {
  auto const bits = std::bit_cast<std::uint32_t>(x);
  auto const sign = bits >> 16 & 0x8000u;
  auto const magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return {static_cast<std::uint16_t>(sign | 0x7e00u)};
  if (magnitude >= 0x477ff000u) return {static_cast<std::uint16_t>(sign | 0x7c00u)};
  if (magnitude < 0x33000000u) return {static_cast<std::uint16_t>(sign)};
  auto const exponent = static_cast<int>(magnitude >> 23);
  auto mantissa = (magnitude & 0x7fffffu) | 0x800000u;
  std::uint32_t base = 0;
  int shift = 13;
  if (exponent >= 113) {
    base = static_cast<std::uint32_t>(exponent - 112) << 10;
    mantissa &= 0x7fffffu;
  } else {
    shift = 126 - exponent;
  }
  auto const kept = mantissa >> shift;
  auto const lost = mantissa & ((1u << shift) - 1), half = 1u << (shift - 1);
  auto const up = lost > half || (lost == half && (kept & 1) != 0) ? 1u : 0u;
  return {static_cast<std::uint16_t>(sign | (base + kept + up))};
}

namespace detail {

/// A float from which a shorter type is rounded as from the double itself: what was lost is kept in
/// its last bit.
inline float rounded_to_odd(double x) {
  auto const near = static_cast<float>(x);
  if (!std::isfinite(x) || static_cast<double>(near) == x) return near;
  auto bits = std::bit_cast<std::uint32_t>(near);
  if (std::abs(static_cast<double>(near)) > std::abs(x)) --bits;
  return std::bit_cast<float>(bits | 1);
}

template <class To, class From> To element_to(From x) {
  if constexpr (std::same_as<To, From>)
    return x;
  else if constexpr (std::same_as<From, bf16> || std::same_as<From, fp16>)
    return element_to<To>(to_float(x));
  else if constexpr (std::same_as<To, bf16> || std::same_as<To, fp16>) {
    float narrow;
    if constexpr (std::same_as<From, double>)
      narrow = rounded_to_odd(x);
    else
      narrow = x;
    if constexpr (std::same_as<To, bf16>)
      return to_bf16(narrow);
    else
      return to_fp16(narrow);
  } else
    return static_cast<To>(x);
}

template <class From, class To>
void convert_elements(std::byte const* from, std::byte* to, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    From x;
    std::memcpy(&x, from + i * static_cast<std::int64_t>(sizeof(From)), sizeof(From));
    auto const y = element_to<To>(x);
    std::memcpy(to + i * static_cast<std::int64_t>(sizeof(To)), &y, sizeof(To));
  }
}

template <class F> void with_float_type(DType type, F&& f) {
  switch (type) {
    case DType::f32: return f(float{});
    case DType::f64: return f(double{});
    case DType::bf16: return f(bf16{});
    case DType::f16: return f(fp16{});
    default: NXD_EXPECTS(type == DType::f32);
  }
}

}  // namespace detail

/// Elements of one type can be stored as another: any float as any float, an integer as itself.
constexpr bool convertible(DType from, DType to) {
  auto const integer = [](DType t) { return t == DType::i32 || t == DType::i64; };
  return from == to || (!integer(from) && !integer(to));
}

/// Writes `count` elements as another type, each rounded once, to the nearest, ties to even.
inline void convert(std::byte const* from, DType from_type, std::byte* to, DType to_type,
                    std::int64_t count) {
  if (from_type == to_type) {
    std::memcpy(to, from, static_cast<std::size_t>(count * size_of(to_type)));
    return;
  }
  detail::with_float_type(from_type, [&]<class From>(From) {
    detail::with_float_type(
        to_type, [&]<class To>(To) { detail::convert_elements<From, To>(from, to, count); });
  });
}

/// Copies what two row-major boxes of one tensor have in common from one to the other.
inline void copy_common(Box const& from_box, std::span<std::byte const> from, DType from_type,
                        Box const& to_box, std::span<std::byte> to, DType to_type) {
  auto const common = intersection(from_box, to_box);
  if (!common) return;
  for_each_run(*common, from_box, to_box,
               [&](std::int64_t source, std::int64_t target, std::int64_t count) {
                 convert(from.data() + source * size_of(from_type), from_type,
                         to.data() + target * size_of(to_type), to_type, count);
               });
}

}  // namespace nxd
