// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <string_view>

#include <nxd/core/dtype.hpp>

namespace nxd {

/// A 64-bit name for a text (FNV-1a), the same on every machine.
constexpr std::uint64_t hash(std::string_view text, std::uint64_t from = 0xcbf29ce484222325) {
  for (char const c : text) from = (from ^ static_cast<std::uint8_t>(c)) * 0x100000001b3;
  return from;
}

/// Random bits that are a pure function of (key, counter): Philox 4x32-10 (Salmon et al., "Parallel
/// random numbers: as easy as 1, 2, 3", 2011). What a rank draws does not depend on what others do.
struct Philox {
  std::uint64_t key;

  constexpr std::array<std::uint32_t, 4> operator()(std::uint64_t low,
                                                    std::uint64_t high = 0) const {
    std::array<std::uint32_t, 4> c{lower(low), upper(low), lower(high), upper(high)};
    auto k0 = lower(key), k1 = upper(key);
    for (int round = 0; round < 10; ++round) {
      auto const p0 = std::uint64_t{0xd2511f53} * c[0], p1 = std::uint64_t{0xcd9e8d57} * c[2];
      c = {upper(p1) ^ c[1] ^ k0, lower(p1), upper(p0) ^ c[3] ^ k1, lower(p0)};
      k0 += 0x9e3779b9;
      k1 += 0xbb67ae85;
    }
    return c;
  }

 private:
  static constexpr std::uint32_t lower(std::uint64_t x) { return static_cast<std::uint32_t>(x); }
  static constexpr std::uint32_t upper(std::uint64_t x) {
    return static_cast<std::uint32_t>(x >> 32);
  }
};

/// A stream of random numbers: (seed, what it is for, when). Number i depends on i alone.
struct Stream {
  Philox bits;
  std::uint64_t high = 0;

  constexpr Stream(std::uint64_t seed, std::string_view name, std::uint64_t step = 0)
      : bits{hash(name, 0xcbf29ce484222325 ^ seed * 0x9e3779b97f4a7c15)}, high(step) {}

  /// Number i, uniform in [0, 1), with 32 random bits.
  constexpr double uniform(std::uint64_t i) const { return bits(i, high)[0] * 0x1p-32; }

  /// Number i, standard normal (Box and Muller).
  double normal(std::uint64_t i) const {
    auto const r = bits(i, high);
    auto const u = (r[0] + 1.0) * 0x1p-32, v = r[1] * 0x1p-32;
    return std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v);
  }
};

/// 16 random bits for every index, a function of (stream, index) alone: eight from one draw.
struct Noise {
  Stream stream;

  constexpr std::uint16_t operator()(std::uint64_t i) const {
    auto const words = stream.bits(i / 8, stream.high);
    return static_cast<std::uint16_t>(words[i % 8 / 2] >> (i % 2 * 16));
  }

  /// Other bits for each of several tensors.
  constexpr Noise of(std::uint64_t tensor) const {
    auto other = *this;
    other.stream.bits.key ^= tensor;
    return other;
  }

  /// Calls `f(k, bits)` for k in [0, n), with the bits of index `first` + k. Cost: a draw for
  /// eight.
  constexpr void for_each(std::uint64_t first, std::int64_t n, auto const& f) const {
    std::array<std::uint32_t, 4> words{};
    for (std::int64_t k = 0; k < n; ++k) {
      auto const i = first + static_cast<std::uint64_t>(k);
      if (k == 0 || i % 8 == 0) words = stream.bits(i / 8, stream.high);
      f(k, static_cast<std::uint16_t>(words[i % 8 / 2] >> (i % 2 * 16)));
    }
  }
};

/// Uniform numbers in [-1/2, 1/2), the i-th of a stream computed from i alone (SplitMix64).
template <class T> struct Uniform {
  std::uint64_t stream = 0;

  constexpr T operator()(std::int64_t i) const {
    auto z = (stream << 40) + static_cast<std::uint64_t>(i) + 1;
    z *= 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return narrow<T>(static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53 - 0.5);
  }
};

}  // namespace nxd
