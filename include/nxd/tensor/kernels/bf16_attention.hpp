// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/tensor/kernels/amx_attention.hpp>
#include <nxd/tensor/kernels/bf16_lines.hpp>
#include <nxd/tensor/kernels/simd_attention.hpp>

namespace nxd {

/// Attention over bf16, its scores and sums in floats: by tiles on AMX, or else made floats whole.
struct Bf16Attention {
  static void attention(Attention const& s, bf16 const* q, bf16 const* k, bf16 const* v, bf16* out,
                        float* log_sum_exp) {
#if defined(__x86_64__)
    if (by_tiles(s)) return detail::AmxAttention(s).forward(q, k, v, out, log_sum_exp);
#endif
    auto const queries = s.batch * s.queries * s.heads * s.head_dim;
    auto const keys = s.batch * s.keys * s.kv_heads * s.head_dim;
    auto* const wide = detail::float_space(3, queries);
    SimdAttention::attention(s, detail::widened(0, queries, q), detail::widened(1, keys, k),
                             detail::widened(2, keys, v), wide, log_sum_exp);
    detail::narrow_line(queries, wide, out);
  }
  static void attention_pull(Attention const& s, bf16 const* q, bf16 const* k, bf16 const* v,
                             bf16 const* out, float const* log_sum_exp, bf16 const* dout, bf16* dq,
                             bf16* dk, bf16* dv) {
#if defined(__x86_64__)
    if (by_tiles(s))
      return detail::AmxAttention(s).backward(q, k, v, out, log_sum_exp, dout, dq, dk, dv);
#endif
    auto const queries = s.batch * s.queries * s.heads * s.head_dim;
    auto const keys = s.batch * s.keys * s.kv_heads * s.head_dim;
    auto* const wide = detail::float_space(5, queries + 2 * keys);
    SimdAttention::attention_pull(s, detail::widened(0, queries, q), detail::widened(1, keys, k),
                                  detail::widened(2, keys, v), detail::widened(3, queries, out),
                                  log_sum_exp, detail::widened(4, queries, dout), wide,
                                  wide + queries, wide + queries + keys);
    detail::narrow_line(queries, wide, dq);
    detail::narrow_line(keys, wide + queries, dk);
    detail::narrow_line(keys, wide + queries + keys, dv);
  }

 private:
  /// A scale that is not positive would make the largest score the smallest.
  static bool by_tiles(Attention const& s) { return has_amx() && s.scale > 0; }
};

}  // namespace nxd
