// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <type_traits>

#include <nxd/core/dtype.hpp>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace nxd {

/// A finished part of a product z, in fp32: its rows and columns from `row` and `column` on; row i
/// is at + i * stride. At most 32 columns.
struct ProductPart {
  std::int64_t row, column, rows, columns;
  float const* at;
  std::int64_t stride;
};

/// What is done with a finished part of a product, by any thread, once a part: `plain` on every
/// machine, `wide` with AVX-512 and its bf16. Both round alike. A store that reads memory may have
/// `ask`, which is called before the part is made: its numbers are not there yet.
template <class S>
concept ProductStore = std::is_trivially_copyable_v<S> &&
    requires(S const s, ProductPart const& p) {
  s.plain(p);
#if defined(__x86_64__)
  s.wide(p);
#endif
};

namespace detail {

inline float read(float const* at) { return *at; }
inline float read(bf16 const* at) { return to_float(*at); }
inline void write(float x, float* at) { *at = x; }
inline void write(float x, bf16* at) { *at = to_bf16(x); }

#if defined(__x86_64__)
/// 32 numbers of a row.
struct Row32 {
  __m512 low, high;
};

/// A row of 32.
struct WholeRow {
  [[gnu::target("avx512bf16,avx512bw,avx512vl")]] static Row32 read(float const* at) {
    return {_mm512_loadu_ps(at), _mm512_loadu_ps(at + 16)};
  }
  [[gnu::target("avx512bf16,avx512bw,avx512vl")]] static Row32 read(bf16 const* at) {
    return {widened(at), widened(at + 16)};
  }
  /// Whole cache lines go past the caches: products in floats are gradients of weights, and much
  /// else is read before they are.
  [[gnu::target("avx512bf16,avx512bw,avx512vl")]] static void write(Row32 const& x, float* at) {
    if (reinterpret_cast<std::uintptr_t>(at) % 64 == 0) {
      _mm512_stream_ps(at, x.low);
      _mm512_stream_ps(at + 16, x.high);
    } else {
      write_near(x, at);
    }
  }
  [[gnu::target("avx512bf16,avx512bw,avx512vl")]] static void write(Row32 const& x, bf16* at) {
    _mm512_storeu_si512(at, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(x.high, x.low)));
  }
  /// To lines that were read just before: what goes past the caches has to drive them out first.
  [[gnu::target("avx512bf16,avx512bw,avx512vl")]] static void write_near(Row32 const& x,
                                                                         float* at) {
    _mm512_storeu_ps(at, x.low);
    _mm512_storeu_ps(at + 16, x.high);
  }
  [[gnu::target("avx512bf16,avx512bw,avx512vl")]] static void write_near(Row32 const& x, bf16* at) {
    write(x, at);
  }
  [[gnu::target("avx512bf16,avx512bw,avx512vl")]] static __m512 widened(bf16 const* at) {
    auto const halves = _mm256_loadu_si256(reinterpret_cast<__m256i const*>(at));
    auto const words = _mm512_maskz_cvtepu16_epi32(0xffff, halves);
    return _mm512_castsi512_ps(_mm512_maskz_slli_epi32(0xffff, words, 16));
  }
};

/// A row of fewer: what it lacks is read as zero and not written.
struct PartRow {
  __mmask16 low, high;

  explicit PartRow(std::int64_t columns) : low(lanes(columns)), high(lanes(columns - 16)) {}

  static __mmask16 lanes(std::int64_t count) {
    return static_cast<__mmask16>((1u << std::clamp<std::int64_t>(count, 0, 16)) - 1);
  }
  [[gnu::target("avx512bf16,avx512bw,avx512vl")]] Row32 read(float const* at) const {
    return {_mm512_maskz_loadu_ps(low, at), _mm512_maskz_loadu_ps(high, at + 16)};
  }
  [[gnu::target("avx512bf16,avx512bw,avx512vl")]] Row32 read(bf16 const* at) const {
    alignas(64) bf16 row[32];
    _mm256_store_si256(reinterpret_cast<__m256i*>(row), _mm256_maskz_loadu_epi16(low, at));
    _mm256_store_si256(reinterpret_cast<__m256i*>(row + 16),
                       _mm256_maskz_loadu_epi16(high, at + 16));
    return WholeRow::read(row);
  }
  [[gnu::target("avx512bf16,avx512bw,avx512vl")]] void write(Row32 const& x, float* at) const {
    _mm512_mask_storeu_ps(at, low, x.low);
    _mm512_mask_storeu_ps(at + 16, high, x.high);
  }
  [[gnu::target("avx512bf16,avx512bw,avx512vl")]] void write(Row32 const& x, bf16* at) const {
    _mm256_mask_storeu_epi16(at, low, reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x.low)));
    _mm256_mask_storeu_epi16(at + 16, high, reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x.high)));
  }
  [[gnu::target("avx512bf16,avx512bw,avx512vl")]] void write_near(Row32 const& x, auto* at) const {
    write(x, at);
  }
};
#endif

}  // namespace detail

/// z = alpha x y.
template <class T> struct StoreProduct {
  T* at;
  std::int64_t stride;
  float alpha = 1;

  /// The store of a z that lies `elements` later.
  StoreProduct moved(std::int64_t elements) const { return {at + elements, stride, alpha}; }
  void plain(ProductPart const& p) const {
    for (std::int64_t i = 0; i < p.rows; ++i)
      for (std::int64_t j = 0; j < p.columns; ++j)
        detail::write(alpha * p.at[i * p.stride + j], at + (p.row + i) * stride + p.column + j);
  }
#if defined(__x86_64__)
  void wide(ProductPart const& p) const {
    p.columns == 32 ? rows(detail::WholeRow{}, p) : rows(detail::PartRow(p.columns), p);
  }

 private:
  template <class Row>
  [[gnu::target("avx512bf16,avx512bw,avx512vl")]] void rows(Row const& row,
                                                            ProductPart const& p) const {
    auto const scale = _mm512_set1_ps(alpha);
    for (std::int64_t i = 0; i < p.rows; ++i) {
      auto const x = row.read(p.at + i * p.stride);
      row.write(detail::Row32{_mm512_mul_ps(scale, x.low), _mm512_mul_ps(scale, x.high)},
                at + (p.row + i) * stride + p.column);
    }
  }
#endif
};
template <class T> StoreProduct(T*, std::int64_t) -> StoreProduct<T>;
template <class T> StoreProduct(T*, std::int64_t, float) -> StoreProduct<T>;

/// z = alpha x y + addend. The addend is a residual, or a bias if the stride of its rows is 0, or z
/// itself: gradients accumulate so.
template <class T, class A = T> struct StoreSum {
  T* at;
  std::int64_t stride;
  A const* addend;
  std::int64_t addend_stride;
  float alpha = 1;

  /// The store of a z and an addend that lie `elements` later.
  StoreSum moved(std::int64_t elements) const {
    return {at + elements, stride, addend + elements, addend_stride, alpha};
  }
  void plain(ProductPart const& p) const {
    for (std::int64_t i = 0; i < p.rows; ++i)
      for (std::int64_t j = 0; j < p.columns; ++j)
        detail::write(alpha * p.at[i * p.stride + j] +
                          detail::read(addend + (p.row + i) * addend_stride + p.column + j),
                      at + (p.row + i) * stride + p.column + j);
  }
#if defined(__x86_64__)
  void wide(ProductPart const& p) const {
    p.columns == 32 ? rows(detail::WholeRow{}, p) : rows(detail::PartRow(p.columns), p);
  }
  /// Asks for what the part is to be added to: hardware sees no order in 32 rows at a time.
  void ask(ProductPart const& p) const {
    for (std::int64_t i = 0; i < p.rows; ++i)
      for (std::int64_t j = 0; j < p.columns; j += std::int64_t{64} / sizeof(A))
        __builtin_prefetch(addend + (p.row + i) * addend_stride + p.column + j);
  }

 private:
  template <class Row>
  [[gnu::target("avx512bf16,avx512bw,avx512vl")]] void rows(Row const& row,
                                                            ProductPart const& p) const {
    auto const scale = _mm512_set1_ps(alpha);
    auto const in_place = static_cast<void const*>(at) == addend;
    for (std::int64_t i = 0; i < p.rows; ++i) {
      auto const x = row.read(p.at + i * p.stride);
      auto const y = row.read(addend + (p.row + i) * addend_stride + p.column);
      detail::Row32 const sum{_mm512_add_ps(_mm512_mul_ps(scale, x.low), y.low),
                              _mm512_add_ps(_mm512_mul_ps(scale, x.high), y.high)};
      auto* const to = at + (p.row + i) * stride + p.column;
      in_place ? row.write_near(sum, to) : row.write(sum, to);
    }
  }
#endif
};

/// z += alpha x y, in fp32.
inline StoreSum<float> accumulate_into(float* z, std::int64_t stride, float alpha = 1) {
  return {z, stride, z, stride, alpha};
}

namespace detail {

/// A store of some type, as the loops over parts see it.
struct PartStore {
  void const* store;
  void (*plain)(void const*, ProductPart const&);
  void (*wide)(void const*, ProductPart const&);
  void (*ask)(void const*, ProductPart const&);  ///< null if there is nothing to ask for
};

template <class S> PartStore part_store(S const& store) {
  void (*ask)(void const*, ProductPart const&) = nullptr;
  if constexpr (requires(ProductPart const& p) { store.ask(p); })
    ask = [](void const* s, ProductPart const& p) { static_cast<S const*>(s)->ask(p); };
  return {&store, [](void const* s, ProductPart const& p) { static_cast<S const*>(s)->plain(p); },
          [](void const* s, ProductPart const& p) {
#if defined(__x86_64__)
            static_cast<S const*>(s)->wide(p);
#else
            static_cast<S const*>(s)->plain(p);
#endif
          },
          ask};
}

}  // namespace detail

}  // namespace nxd
