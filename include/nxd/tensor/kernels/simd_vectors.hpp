// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include <xsimd/xsimd.hpp>

#ifdef _OPENMP
#include <omp.h>
#endif

#include <nxd/tensor/kernels/plain.hpp>

namespace nxd {

/// Threads that the kernels of a rank run on.
inline std::int64_t thread_count() {
#ifdef _OPENMP
  return omp_get_max_threads();
#else
  return 1;
#endif
}

namespace detail {

using Lanes = xsimd::batch<float>;
inline constexpr auto lane_count = static_cast<std::int64_t>(Lanes::size);

/// Work on fewer elements than this is not worth waking threads for.
inline constexpr std::int64_t grain = std::int64_t{1} << 15;

/// Calls `work(i)` for i in [0, n), over threads if `elements` in all are many. Each i is
/// independent, so results do not depend on the threads.
void for_each_index(std::int64_t n, [[maybe_unused]] std::int64_t elements, auto const& work) {
#pragma omp parallel for schedule(static) if (elements > grain)
  for (std::int64_t i = 0; i < n; ++i) work(i);
}

/// Calls `lanes(i)` for whole vectors of [0, n) and `one(i)` for the elements that are left.
inline void vectorize(std::int64_t n, auto const& lanes, auto const& one) {
  std::int64_t i = 0;
  for (; i + lane_count <= n; i += lane_count) lanes(i);
  for (; i < n; ++i) one(i);
}

/// Likewise, in even pieces over threads.
inline void vectorize_over_threads(std::int64_t n, auto const& lanes, auto const& one) {
  auto const piece = std::int64_t{1} << 14;
  for_each_index((n + piece - 1) / piece, n, [&](std::int64_t p) {
    auto const from = p * piece, count = std::min(piece, n - from);
    vectorize(
        count, [&](std::int64_t i) { lanes(from + i); }, [&](std::int64_t i) { one(from + i); });
  });
}

inline Lanes load(float const* p) { return xsimd::load_unaligned(p); }
inline void store(float* p, Lanes v) { xsimd::store_unaligned(p, v); }

/// The sum of `term(i)` over [0, n): four running sums of vectors, joined in one order.
inline float sum_over(std::int64_t n, auto const& lanes, auto const& one) {
  std::array<Lanes, 4> sums{Lanes(0.f), Lanes(0.f), Lanes(0.f), Lanes(0.f)};
  std::int64_t i = 0;
  for (; i + 4 * lane_count <= n; i += 4 * lane_count)
    for (std::size_t s = 0; s < 4; ++s)
      sums[s] += lanes(i + static_cast<std::int64_t>(s) * lane_count);
  for (; i + lane_count <= n; i += lane_count) sums[0] += lanes(i);
  auto total = xsimd::hadd((sums[0] + sums[1]) + (sums[2] + sums[3]));
  for (; i < n; ++i) total += one(i);
  return total;
}

inline float dot(std::int64_t n, float const* x, float const* y) {
  return sum_over(
      n, [&](std::int64_t i) { return load(x + i) * load(y + i); },
      [&](std::int64_t i) { return x[i] * y[i]; });
}

/// The largest of n numbers. `also(t, v)` sees each vector v, t being 0 to 3 in turn, and `rest(v)`
/// each number that is left.
inline float largest(std::int64_t n, float const* x, auto const& also, auto const& rest) {
  constexpr auto least = -std::numeric_limits<float>::infinity();
  std::array<Lanes, 4> tops{Lanes(least), Lanes(least), Lanes(least), Lanes(least)};
  std::int64_t i = 0;
  for (; i + 4 * lane_count <= n; i += 4 * lane_count)
    for (std::size_t t = 0; t < 4; ++t) {
      auto const v = load(x + i + static_cast<std::int64_t>(t) * lane_count);
      tops[t] = xsimd::max(tops[t], v);
      also(t, v);
    }
  for (; i + lane_count <= n; i += lane_count) {
    auto const v = load(x + i);
    tops[0] = xsimd::max(tops[0], v);
    also(0, v);
  }
  auto most = least;
  alignas(64) std::array<float, static_cast<std::size_t>(lane_count)> parts;
  xsimd::max(xsimd::max(tops[0], tops[1]), xsimd::max(tops[2], tops[3]))
      .store_aligned(parts.data());
  for (auto const part : parts) most = std::max(most, part);
  for (; i < n; ++i) {
    most = std::max(most, x[i]);
    rest(x[i]);
  }
  return most;
}
inline float largest(std::int64_t n, float const* x) {
  return largest(
      n, x, [](std::size_t, Lanes) {}, [](float) {});
}

/// The largest of n numbers, and their sum, in one pass.
inline std::pair<float, float> largest_and_sum(std::int64_t n, float const* x) {
  std::array<Lanes, 4> sums{Lanes(0.f), Lanes(0.f), Lanes(0.f), Lanes(0.f)};
  float left = 0;
  auto const top = largest(
      n, x, [&](std::size_t t, Lanes v) { sums[t] += v; }, [&](float v) { left += v; });
  return {top, xsimd::hadd((sums[0] + sums[1]) + (sums[2] + sums[3])) + left};
}

inline Lanes sigmoid(Lanes x) { return Lanes(1.f) / (Lanes(1.f) + xsimd::exp(-x)); }
inline float sigmoid(float x) { return 1 / (1 + std::exp(-x)); }

}  // namespace detail

}  // namespace nxd
