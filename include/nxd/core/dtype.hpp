// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <string_view>
#include <type_traits>

namespace nxd {

/// Brain floating point: the upper half of a float.
struct bf16 {
  std::uint16_t bits;
  bool operator==(bf16 const&) const = default;
};

/// IEEE half precision, for files of others; nothing computes in it.
struct fp16 {
  std::uint16_t bits;
  bool operator==(fp16 const&) const = default;
};

/// The float that a bf16 stands for, exactly.
constexpr float to_float(bf16 x) { return std::bit_cast<float>(std::uint32_t{x.bits} << 16); }

/// The nearest bf16, ties to even; a NaN stays one.
constexpr bf16 to_bf16(float x) {
  auto const bits = std::bit_cast<std::uint32_t>(x);
  if ((bits & 0x7fffffff) > 0x7f800000) return {static_cast<std::uint16_t>(bits >> 16 | 0x40)};
  return {static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

/// One of the two bf16 around x, with probabilities that make the mean exact: `noise` is 16 uniform
/// bits.
constexpr bf16 to_bf16_stochastic(float x, std::uint16_t noise) {
  auto const bits = std::bit_cast<std::uint32_t>(x);
  if ((bits & 0x7f800000) == 0x7f800000) return to_bf16(x);
  return {static_cast<std::uint16_t>((bits + noise) >> 16)};
}

/// What sums of many E are taken in, and what statistics of them are kept in: bf16 has too few
/// bits.
template <class E> struct Accumulator { using type = E; };
template <> struct Accumulator<bf16> { using type = float; };
template <class E> using accumulator_t = typename Accumulator<E>::type;

/// A number as what arithmetic is done in, exactly.
template <class E> constexpr accumulator_t<E> widen(E x) {
  if constexpr (std::is_same_v<E, bf16>)
    return to_float(x);
  else
    return x;
}
/// The number of type E that is nearest to x.
template <class E> constexpr E narrow(auto x) {
  if constexpr (std::is_same_v<E, bf16>)
    return to_bf16(static_cast<float>(x));
  else
    return static_cast<E>(x);
}

/// The float that an fp16 stands for, exactly.
constexpr float to_float(fp16 x) {
  std::uint32_t const sign = std::uint32_t{x.bits & 0x8000u} << 16;
  std::uint32_t const exponent = x.bits >> 10 & 31, mantissa = x.bits & 0x3ff;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000 | mantissa << 13);
  if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
  float const tiny = static_cast<float>(mantissa) * 0x1p-24f;
  return sign != 0 ? -tiny : tiny;
}

/// How elements are stored in files.
enum class DType : std::uint8_t { f32, f64, bf16, f16, i32, i64 };

/// Bytes of one element.
constexpr std::int64_t size_of(DType t) {
  switch (t) {
    case DType::f64:
    case DType::i64: return 8;
    case DType::bf16:
    case DType::f16: return 2;
    default: return 4;
  }
}

/// The name that safetensors gives a type.
constexpr std::string_view name(DType t) {
  switch (t) {
    case DType::f32: return "F32";
    case DType::f64: return "F64";
    case DType::bf16: return "BF16";
    case DType::f16: return "F16";
    case DType::i32: return "I32";
    default: return "I64";
  }
}

template <class T> struct dtype_of;
template <> struct dtype_of<float> { static constexpr DType value = DType::f32; };
template <> struct dtype_of<double> { static constexpr DType value = DType::f64; };
template <> struct dtype_of<bf16> { static constexpr DType value = DType::bf16; };
template <> struct dtype_of<fp16> { static constexpr DType value = DType::f16; };
template <> struct dtype_of<std::int32_t> { static constexpr DType value = DType::i32; };
template <> struct dtype_of<std::int64_t> { static constexpr DType value = DType::i64; };

/// The `DType` of a C++ type.
template <class T> inline constexpr DType dtype_v = dtype_of<T>::value;

}  // namespace nxd
