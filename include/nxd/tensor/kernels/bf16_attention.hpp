// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/tensor/kernels/amx_bf16_block.hpp>
#include <nxd/tensor/kernels/avx512_bf16_block.hpp>
#include <nxd/tensor/kernels/bf16_lines.hpp>
#include <nxd/tensor/kernels/simd_attention.hpp>
#include <nxd/tensor/kernels/tile_attention.hpp>

namespace nxd {

/// Attention over bf16, its scores and sums in floats: by tiles on AMX, or on AVX-512 where its
/// products of bf16 are faster than those of floats, or else made floats whole.
struct Bf16Attention {
  static void attention(Attention const& s, bf16 const* q, bf16 const* k, bf16 const* v, bf16* out,
                        float* log_sum_exp) {
    if (by_tiles(s, [&](auto const& tiles) { tiles.forward(q, k, v, out, log_sum_exp); })) return;
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
    if (by_tiles(s, [&](auto const& tiles) {
          tiles.backward(q, k, v, out, log_sum_exp, dout, dq, dk, dv);
        }))
      return;
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
  /// Calls `work(attention)` with one by tiles, where this machine has them. @return whether it has
  static bool by_tiles(Attention const& s, auto const& work) {
#if defined(__x86_64__)
    if (!(s.scale > 0)) return false;  // the largest score would be the smallest
    if (has_amx())
      work(detail::TileAttention<detail::AmxBlocks>(s));
    else if (has_avx512_bf16() && !detail::has_slow_bf16())
      work(detail::TileAttention<detail::Avx512Blocks>(s));
    else
      return false;
    return true;
#else
    return false;
#endif
  }
};

}  // namespace nxd
