// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include <cblas.h>

#include <nxd/tensor/kernels/simd_product.hpp>

namespace nxd {

/// Attention by tiles: a block of queries against a block of keys at a time, what the mask hides
/// skipped. Each (batch, key head) is one piece of work, so results do not depend on threads.
struct SimdAttention {
  static void attention(Attention const& s, float const* q, float const* k, float const* v,
                        float* out, float* log_sum_exp) {
    detail::for_each_index(s.batch * s.heads, s.batch * s.heads * s.queries * s.keys,
                           [&](std::int64_t item) {
                             forward(s, item / s.heads, item % s.heads, q, k, v, out, log_sum_exp);
                           });
  }

  static void attention_pull(Attention const& s, float const* q, float const* k, float const* v,
                             float const* out, float const* log_sum_exp, float const* dout,
                             float* dq, float* dk, float* dv) {
    std::fill_n(dk, s.batch * s.keys * s.kv_heads * s.head_dim, 0.f);
    std::fill_n(dv, s.batch * s.keys * s.kv_heads * s.head_dim, 0.f);
    detail::for_each_index(s.batch * s.kv_heads, s.batch * s.heads * s.queries * s.keys,
                           [&](std::int64_t item) {
                             auto const b = item / s.kv_heads, g = item % s.kv_heads;
                             for (std::int64_t h = 0; h < s.heads; ++h)
                               if ((s.first_head + h) / s.group == g)
                                 backward(s, b, h, q, k, v, out, log_sum_exp, dout, dq, dk, dv);
                           });
  }

 private:
  static constexpr std::int64_t tile = 64;

  /// Tiles of one thread, which stay with it.
  struct Scratch {
    std::vector<float> scores = std::vector<float>(static_cast<std::size_t>(tile * tile));
    std::vector<float> slopes = std::vector<float>(static_cast<std::size_t>(tile * tile));
    std::vector<float> top = std::vector<float>(static_cast<std::size_t>(tile));
    std::vector<float> sum = std::vector<float>(static_cast<std::size_t>(tile));
  };
  static Scratch& scratch() {
    thread_local Scratch one;
    return one;
  }

  /// The keys that query i sees: [0, seen).
  static std::int64_t seen(Attention const& s, std::int64_t i) {
    return s.causal ? std::min(s.keys, i + 1 + s.keys - s.queries) : s.keys;
  }

  /// z[m, n] (+)= a x[m, d] y[n, d]
  static void outer(std::int64_t m, std::int64_t n, std::int64_t d, float a, float const* x,
                    std::int64_t xs, float const* y, std::int64_t ys, float* z) {
    // Of small products, OpenBLAS is slow at this form alone.
    auto const maker = has_avx512() ? ProductMaker::avx512 : ProductMaker::openblas;
    SimdProduct::multiply_by(maker, m, n, d, {x, xs, 1}, {y, ys, 1}, {z, tile, a});
  }
  /// z[m, d] += weights[m, n] y[n, d]
  static void gather(std::int64_t m, std::int64_t d, std::int64_t n, float const* weights,
                     float const* y, std::int64_t ys, float* z, std::int64_t zs, float keep) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, static_cast<int>(m), static_cast<int>(d),
                static_cast<int>(n), 1, weights, static_cast<int>(tile), y, static_cast<int>(ys),
                keep, z, static_cast<int>(zs));
  }
  /// z[n, d] += weights[m, n]^T x[m, d]
  static void scatter(std::int64_t n, std::int64_t d, std::int64_t m, float const* weights,
                      float const* x, std::int64_t xs, float* z, std::int64_t zs) {
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, static_cast<int>(n), static_cast<int>(d),
                static_cast<int>(m), 1, weights, static_cast<int>(tile), x, static_cast<int>(xs), 1,
                z, static_cast<int>(zs));
  }

  static void forward(Attention const& s, std::int64_t b, std::int64_t h, float const* q,
                      float const* k, float const* v, float* out, float* log_sum_exp) {
    using namespace detail;
    auto const qs = s.heads * s.head_dim, ks = s.kv_heads * s.head_dim;
    auto const g = (s.first_head + h) / s.group;
    auto const* const keys = k + b * s.keys * ks + g * s.head_dim;
    auto const* const values = v + b * s.keys * ks + g * s.head_dim;
    auto& [scores, unused, top, sum] = scratch();
    for (std::int64_t i0 = 0; i0 < s.queries; i0 += tile) {
      auto const m = std::min(tile, s.queries - i0);
      auto const at = (b * s.queries + i0) * qs + h * s.head_dim;
      std::fill_n(top.begin(), m, -std::numeric_limits<float>::infinity());
      std::fill_n(sum.begin(), m, 0.f);
      for (std::int64_t i = 0; i < m; ++i) std::fill_n(out + at + i * qs, s.head_dim, 0.f);
      for (std::int64_t j0 = 0; j0 < seen(s, i0 + m - 1); j0 += tile) {
        auto const n = std::min(tile, seen(s, i0 + m - 1) - j0);
        outer(m, n, s.head_dim, static_cast<float>(s.scale), q + at, qs, keys + j0 * ks, ks,
              scores.data());
        for (std::int64_t i = 0; i < m; ++i) {
          auto* const row = scores.data() + i * tile;
          auto const visible = std::clamp<std::int64_t>(seen(s, i0 + i) - j0, 0, n);
          auto const r = static_cast<std::size_t>(i);
          auto const best = std::max(top[r], largest(visible, row));
          if (visible > 0) {
            auto const fade = std::exp(top[r] - best);
            sum[r] = sum[r] * fade +
                     sum_over(
                         visible,
                         [&](std::int64_t c) {
                           auto const e = xsimd::exp(load(row + c) - Lanes(best));
                           store(row + c, e);
                           return e;
                         },
                         [&](std::int64_t c) { return row[c] = std::exp(row[c] - best); });
            if (fade != 1)
              for (std::int64_t d = 0; d < s.head_dim; ++d) out[at + i * qs + d] *= fade;
            top[r] = best;
          }
          std::fill(row + visible, row + n, 0.f);
        }
        gather(m, s.head_dim, n, scores.data(), values + j0 * ks, ks, out + at, qs, 1);
      }
      for (std::int64_t i = 0; i < m; ++i) {
        auto const r = static_cast<std::size_t>(i);
        for (std::int64_t d = 0; d < s.head_dim; ++d) out[at + i * qs + d] /= sum[r];
        log_sum_exp[(b * s.heads + h) * s.queries + i0 + i] = top[r] + std::log(sum[r]);
      }
    }
  }

  static void backward(Attention const& s, std::int64_t b, std::int64_t h, float const* q,
                       float const* k, float const* v, float const* out, float const* log_sum_exp,
                       float const* dout, float* dq, float* dk, float* dv) {
    using namespace detail;
    auto const qs = s.heads * s.head_dim, ks = s.kv_heads * s.head_dim;
    auto const g = (s.first_head + h) / s.group;
    auto const key_at = b * s.keys * ks + g * s.head_dim;
    auto const scale = static_cast<float>(s.scale);
    auto& [scores, slopes, mean, unused] = scratch();
    for (std::int64_t i0 = 0; i0 < s.queries; i0 += tile) {
      auto const m = std::min(tile, s.queries - i0);
      auto const at = (b * s.queries + i0) * qs + h * s.head_dim;
      for (std::int64_t i = 0; i < m; ++i)
        mean[static_cast<std::size_t>(i)] = dot(s.head_dim, out + at + i * qs, dout + at + i * qs);
      for (std::int64_t j0 = 0; j0 < seen(s, i0 + m - 1); j0 += tile) {
        auto const n = std::min(tile, seen(s, i0 + m - 1) - j0);
        auto const keys = key_at + j0 * ks;
        outer(m, n, s.head_dim, scale, q + at, qs, k + keys, ks, scores.data());
        outer(m, n, s.head_dim, 1, dout + at, qs, v + keys, ks, slopes.data());
        for (std::int64_t i = 0; i < m; ++i) {
          auto* const weight = scores.data() + i * tile;
          auto* const slope = slopes.data() + i * tile;
          auto const visible = std::clamp<std::int64_t>(seen(s, i0 + i) - j0, 0, n);
          auto const sum = log_sum_exp[(b * s.heads + h) * s.queries + i0 + i];
          auto const middle = mean[static_cast<std::size_t>(i)];
          vectorize(
              visible,
              [&](std::int64_t c) {
                auto const w = xsimd::exp(load(weight + c) - Lanes(sum));
                store(weight + c, w);
                store(slope + c, w * (load(slope + c) - Lanes(middle)) * Lanes(scale));
              },
              [&](std::int64_t c) {
                weight[c] = std::exp(weight[c] - sum);
                slope[c] = weight[c] * (slope[c] - middle) * scale;
              });
          std::fill(weight + visible, weight + n, 0.f);
          std::fill(slope + visible, slope + n, 0.f);
        }
        scatter(n, s.head_dim, m, scores.data(), dout + at, qs, dv + keys, ks);
        scatter(n, s.head_dim, m, slopes.data(), q + at, qs, dk + keys, ks);
        gather(m, s.head_dim, n, slopes.data(), k + keys, ks, dq + at, qs, j0 == 0 ? 0.f : 1.f);
      }
    }
  }
};

}  // namespace nxd
