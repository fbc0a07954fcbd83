// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>

#include <nxd/tensor/kernels/sizes.hpp>

namespace nxd {

/// Attention: see `PlainKernels`.
template <class T> struct PlainAttention {
  /// out = softmax(scale q k) v, one query at a time and each score twice: none is kept
  static void attention(Attention const& s, T const* q, T const* k, T const* v, T* out,
                        T* log_sum_exp) {
    for_each_query(s, [&](Query const& at) {
      auto const n = seen(s, at.query);
      auto top = score(s, q + at.q, k + at.k);
      for (std::int64_t j = 1; j < n; ++j)
        top = std::max(top, score(s, q + at.q, k + at.k + j * s.kv_heads * s.head_dim));
      T sum{};
      std::fill_n(out + at.q, s.head_dim, T{});
      for (std::int64_t j = 0; j < n; ++j) {
        auto const key = at.k + j * s.kv_heads * s.head_dim;
        auto const weight = std::exp(score(s, q + at.q, k + key) - top);
        sum += weight;
        for (std::int64_t d = 0; d < s.head_dim; ++d) out[at.q + d] += weight * v[key + d];
      }
      for (std::int64_t d = 0; d < s.head_dim; ++d) out[at.q + d] /= sum;
      log_sum_exp[at.sum] = top + std::log(sum);
    });
  }

  /// Likewise backward.
  static void attention_pull(Attention const& s, T const* q, T const* k, T const* v, T const* out,
                             T const* log_sum_exp, T const* dout, T* dq, T* dk, T* dv) {
    std::fill_n(dq, s.batch * s.queries * s.heads * s.head_dim, T{});
    std::fill_n(dk, s.batch * s.keys * s.kv_heads * s.head_dim, T{});
    std::fill_n(dv, s.batch * s.keys * s.kv_heads * s.head_dim, T{});
    for_each_query(s, [&](Query const& at) {
      T mean{};
      for (std::int64_t d = 0; d < s.head_dim; ++d) mean += out[at.q + d] * dout[at.q + d];
      for (std::int64_t j = 0; j < seen(s, at.query); ++j) {
        auto const key = at.k + j * s.kv_heads * s.head_dim;
        auto const weight = std::exp(score(s, q + at.q, k + key) - log_sum_exp[at.sum]);
        T slope{};
        for (std::int64_t d = 0; d < s.head_dim; ++d) slope += dout[at.q + d] * v[key + d];
        auto const dscore = weight * (slope - mean) * static_cast<T>(s.scale);
        for (std::int64_t d = 0; d < s.head_dim; ++d) {
          dq[at.q + d] += dscore * k[key + d];
          dk[key + d] += dscore * q[at.q + d];
          dv[key + d] += weight * dout[at.q + d];
        }
      }
    });
  }

 private:
  /// One query of one head: where it, its first key and its sum lie.
  struct Query {
    std::int64_t query, q, k, sum;
  };

  static void for_each_query(Attention const& s, auto const& work) {
    for (std::int64_t b = 0; b < s.batch; ++b)
      for (std::int64_t h = 0; h < s.heads; ++h)
        for (std::int64_t i = 0; i < s.queries; ++i)
          work(Query{i, ((b * s.queries + i) * s.heads + h) * s.head_dim,
                     (b * s.keys * s.kv_heads + (s.first_head + h) / s.group) * s.head_dim,
                     (b * s.heads + h) * s.queries + i});
  }

  static std::int64_t seen(Attention const& s, std::int64_t query) {
    return s.causal ? query + 1 + s.keys - s.queries : s.keys;
  }

  static T score(Attention const& s, T const* q, T const* k) {
    T sum{};
    for (std::int64_t d = 0; d < s.head_dim; ++d) sum += q[d] * k[d];
    return sum * static_cast<T>(s.scale);
  }
};

}  // namespace nxd
