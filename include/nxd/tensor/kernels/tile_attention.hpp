// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/tensor/kernels/attention_tiles.hpp>

#if defined(__x86_64__)
namespace nxd::detail {

/// Attention over bf16 by tiles, its scores and sums in fp32: see `Bf16Attention`. Scores lie
/// turned, scores[key, query]: what is done to queries is done to lanes, and weights are written as
/// tiles read them. The order of sums depends on sizes alone. `Blocks`, `AmxBlocks` or
/// `Avx512Blocks`, multiplies panels.
///
/// Memory of a thread, for P keys and Q queries of a head dimension D, rounded up to 32: 4 P D
/// bytes forward; (14 P + 12 Q) D bytes backward; and 112 KiB.
template <class Blocks> class TileAttention {
 public:
  explicit TileAttention(Attention const& s) : s_(s) {}

  void forward(bf16 const* q, bf16 const* k, bf16 const* v, bf16* out, float* log_sum_exp) const {
    auto const all = s_.batch * s_.heads;
#pragma omp parallel if (is_worth_threads())
    {
      Forward const room = forward_room();
      [[maybe_unused]] typename Blocks::Unit const unit;
      std::int64_t packed = -1;
#pragma omp for schedule(static)
      for (std::int64_t i = 0; i < all; ++i) {
        auto const b = i / s_.heads, h = i % s_.heads, g = (s_.first_head + h) / s_.group;
        if (packed != b * s_.kv_heads + g) {
          pack_rows<OperandSide::left>(key_head(k, b, g), room.keys);
          pack_columns<OperandSide::left>(key_head(v, b, g), room.values);
          packed = b * s_.kv_heads + g;
        }
        for (std::int64_t query = 0; query < s_.queries; query += panel_lines)
          attend(room, head(q, b, h), query, out + place(b, h) + query * query_stride(),
                 log_sum_exp + i * s_.queries + query);
      }
    }
  }

  void backward(bf16 const* q, bf16 const* k, bf16 const* v, bf16 const* out,
                float const* log_sum_exp, bf16 const* dout, bf16* dq, bf16* dk, bf16* dv) const {
    auto const all = s_.batch * s_.kv_heads;
#pragma omp parallel if (is_worth_threads())
    {
      Backward const room = backward_room();
      [[maybe_unused]] typename Blocks::Unit const unit;
#pragma omp for schedule(static)
      for (std::int64_t i = 0; i < all; ++i) {
        auto const b = i / s_.kv_heads, g = i % s_.kv_heads;
        auto const keys = key_head(k, b, g);
        pack_rows<OperandSide::left>(keys, room.keys);
        pack_columns<OperandSide::left>(keys, room.keys_turned);
        pack_rows<OperandSide::left>(key_head(v, b, g), room.values);
        std::fill_n(room.dkeys, key_panels() * depth_panels() * block, 0.f);
        std::fill_n(room.dvalues, key_panels() * depth_panels() * block, 0.f);
        for (std::int64_t h = 0; h < s_.heads; ++h) {
          if ((s_.first_head + h) / s_.group != g) continue;
          auto const at = place(b, h);
          auto const queries = head(q, b, h), slopes = head(dout, b, h);
          pack_rows<OperandSide::right>(queries, room.queries);
          pack_columns<OperandSide::right>(queries, room.queries_turned);
          pack_rows<OperandSide::right>(slopes, room.slopes);
          pack_columns<OperandSide::right>(slopes, room.slopes_turned);
          measure_queries(s_, out + at, dout + at, log_sum_exp + (b * s_.heads + h) * s_.queries,
                          room.statistics());
          pull(room);
          for (std::int64_t query = 0; query < s_.queries; query += panel_lines)
            write_turned(room.dqueries + query / panel_lines * depth_panels() * block,
                         {s_.head_dim, s_.queries - query}, static_cast<float>(s_.scale), nullptr,
                         dq + at + query * query_stride(), query_stride());
        }
        auto const at = (b * s_.keys * s_.kv_heads + g) * s_.head_dim;
        write_keys(room.dkeys, static_cast<float>(s_.scale), dk + at);
        write_keys(room.dvalues, 1, dv + at);
      }
    }
  }

 private:
  static constexpr std::int64_t block = panel_lines * panel_lines;
  /// Keys whose scores for a panel of queries exist at a time, forward: with their weights they
  /// fill a first-level cache.
  static constexpr std::int64_t keys_forward = 256;
  /// Panels of keys, and of queries, whose scores exist at a time backward.
  static constexpr std::int64_t keys_backward = 2, queries_backward = 4;

  bool is_worth_threads() const { return s_.batch * s_.heads * s_.queries * s_.keys > 1 << 12; }
  std::int64_t query_stride() const { return s_.heads * s_.head_dim; }
  std::int64_t key_stride() const { return s_.kv_heads * s_.head_dim; }
  std::int64_t place(std::int64_t b, std::int64_t h) const {
    return b * s_.queries * query_stride() + h * s_.head_dim;
  }
  std::int64_t key_panels() const { return parts_of(s_.keys, panel_lines); }
  std::int64_t query_panels() const { return parts_of(s_.queries, panel_lines); }
  std::int64_t depth_panels() const { return parts_of(s_.head_dim, panel_lines); }
  std::int64_t depth_steps() const { return parts_of(s_.head_dim, step_depth); }
  /// Lines of a panel of the head dimension.
  std::int64_t depth_lines(std::int64_t panel) const {
    return std::min(panel_lines, s_.head_dim - panel * panel_lines);
  }
  static BlockSums whole(float* at) { return {at, panel_lines, panel_lines, false}; }

  /// The vectors of one head.
  struct Vectors {
    bf16 const* at;
    std::int64_t count, length, stride;
  };
  Vectors head(bf16 const* x, std::int64_t b, std::int64_t h) const {
    return {x + place(b, h), s_.queries, s_.head_dim, query_stride()};
  }
  Vectors key_head(bf16 const* x, std::int64_t b, std::int64_t g) const {
    return {x + b * s_.keys * key_stride() + g * s_.head_dim, s_.keys, s_.head_dim, key_stride()};
  }

  template <OperandSide side> static void pack_rows(Vectors const& x, std::byte* out) {
    Bf16Lines const lines{by_rows(x.at, x.stride), x.count, x.length};
    pack_panels<side>(lines, 0, lines.panels(), out);
  }
  template <OperandSide side> static void pack_columns(Vectors const& x, std::byte* out) {
    Bf16Lines const lines{by_columns(x.at, x.stride), x.length, x.count};
    pack_panels<side>(lines, 0, lines.panels(), out);
  }

  /// What a thread works on.
  struct Forward {
    std::byte *keys, *values, *query, *weights;
    float *scores, *sums;
  };
  Forward forward_room() const {
    auto const depth = depth_steps() * step_bytes;
    Cut cut(key_panels() * depth * 2 + depth + keys_forward * panel_lines * 6 +
            depth_panels() * block * 4);
    return {cut.bytes(key_panels() * depth),
            cut.bytes(key_panels() * depth),
            cut.bytes(depth),
            cut.bytes(keys_forward * panel_lines * 2),
            cut.floats(keys_forward * panel_lines),
            cut.floats(depth_panels() * block)};
  }

  /// A panel of queries against the keys that it sees.
  void attend(Forward const& room, Vectors queries, std::int64_t query, bf16* out,
              float* log_sum_exp) const {
    queries.at += query * queries.stride;
    queries.count = std::min(panel_lines, queries.count - query);
    pack_rows<OperandSide::right>(queries, room.query);
    Sight const sight{s_.causal, query + s_.keys - s_.queries};
    auto const seen = std::clamp<std::int64_t>(sight.of(queries.count - 1), 1, s_.keys);
    Softmax softmax(s_.scale);
    for (std::int64_t key = 0; key < seen; key += keys_forward) {
      auto const count = std::min(keys_forward, seen - key), panels = parts_of(count, panel_lines);
      for (std::int64_t p = 0; p < panels; ++p)
        Blocks::multiply(room.keys + (key / panel_lines + p) * depth_steps() * step_bytes,
                         room.query, depth_steps(), whole(room.scores + p * block));
      softmax.weigh(sight.from(key), count, room.scores, room.weights);
      if (key > 0) softmax.fade(depth_panels() * panel_lines, room.sums);
      for (std::int64_t d = 0; d < depth_panels(); ++d)
        Blocks::multiply(room.values + (d * key_panels() + key / panel_lines) * step_bytes,
                         room.weights, panels,
                         {room.sums + d * block, depth_lines(d), panel_lines, key > 0});
    }
    auto const inverse = softmax.finish(queries.count, log_sum_exp);
    write_turned(room.sums, {s_.head_dim, queries.count}, 1, inverse.data(), out, query_stride());
  }

  struct Backward {
    std::byte *keys, *keys_turned, *values, *queries, *queries_turned, *slopes, *slopes_turned;
    std::byte *weights, *dscores, *dscores_turned;
    float *dkeys, *dvalues, *dqueries, *scores, *dweights, *log_sums, *means;

    QueryStatistics statistics() const { return {log_sums, means}; }
  };
  Backward backward_room() const {
    auto const depth = depth_steps() * step_bytes, floats = depth_panels() * block;
    constexpr auto blocks = keys_backward * queries_backward;
    auto const keys = key_panels(), queries = query_panels();
    Cut cut(keys * (3 * depth + 8 * floats) + queries * (4 * depth + 4 * floats + 8 * panel_lines) +
            blocks * (3 * step_bytes + 8 * block));
    Backward room{};
    for (auto* const x : {&room.keys, &room.keys_turned, &room.values})
      *x = cut.bytes(keys * depth);
    for (auto* const x : {&room.queries, &room.queries_turned, &room.slopes, &room.slopes_turned})
      *x = cut.bytes(queries * depth);
    for (auto* const x : {&room.weights, &room.dscores, &room.dscores_turned})
      *x = cut.bytes(blocks * step_bytes);
    for (auto* const x : {&room.dkeys, &room.dvalues}) *x = cut.floats(keys * floats);
    for (auto* const x : {&room.scores, &room.dweights}) *x = cut.floats(blocks * block);
    room.dqueries = cut.floats(queries * floats);
    for (auto* const x : {&room.log_sums, &room.means}) *x = cut.floats(queries * panel_lines);
    return room;
  }

  /// One head's queries against all keys.
  void pull(Backward const& room) const {
    std::fill_n(room.dqueries, query_panels() * depth_panels() * block, 0.f);
    for (std::int64_t key = 0; key < key_panels(); key += keys_backward) {
      // The first query that sees any of these keys.
      auto const first = s_.causal ? key * panel_lines + s_.queries - s_.keys : std::int64_t{0};
      auto const from = std::max<std::int64_t>(0, first) / panel_lines;
      for (auto query = from; query < query_panels(); query += queries_backward)
        pull(room, {key, std::min(keys_backward, key_panels() - key), query,
                    std::min(queries_backward, query_panels() - query)});
    }
  }

  /// So many panels of keys and of queries.
  struct Part {
    std::int64_t key, keys, query, queries;
  };
  void pull(Backward const& room, Part const& at) const {
    auto const depth = depth_steps() * step_bytes;
    for (std::int64_t j = 0; j < at.keys; ++j)
      for (std::int64_t i = 0; i < at.queries; ++i) {
        auto const place = j * at.queries + i;
        Blocks::multiply(room.keys + (at.key + j) * depth, room.queries + (at.query + i) * depth,
                         depth_steps(), whole(room.scores + place * block));
        Blocks::multiply(room.values + (at.key + j) * depth, room.slopes + (at.query + i) * depth,
                         depth_steps(), whole(room.dweights + place * block));
        auto const key = (at.key + j) * panel_lines, query = (at.query + i) * panel_lines;
        pull_scores(Sight{s_.causal, query + s_.keys - s_.queries}.from(key), s_.keys - key,
                    room.statistics().from(query), s_.scale,
                    {room.scores + place * block, room.dweights + place * block,
                     room.weights + place * step_bytes, room.dscores + place * step_bytes,
                     room.dscores_turned + (i * at.keys + j) * step_bytes});
      }
    for (std::int64_t d = 0; d < depth_panels(); ++d) {
      auto const query_steps = (d * query_panels() + at.query) * step_bytes;
      for (std::int64_t j = 0; j < at.keys; ++j) {
        auto const sum = ((at.key + j) * depth_panels() + d) * block;
        auto const weights = j * at.queries * step_bytes;
        Blocks::multiply(room.weights + weights, room.slopes_turned + query_steps, at.queries,
                         {room.dvalues + sum, panel_lines, depth_lines(d), true});
        Blocks::multiply(room.dscores + weights, room.queries_turned + query_steps, at.queries,
                         {room.dkeys + sum, panel_lines, depth_lines(d), true});
      }
      for (std::int64_t i = 0; i < at.queries; ++i) {
        auto* const sum = room.dqueries + ((at.query + i) * depth_panels() + d) * block;
        Blocks::multiply(room.keys_turned + (d * key_panels() + at.key) * step_bytes,
                         room.dscores_turned + i * at.keys * step_bytes, at.keys,
                         {sum, depth_lines(d), panel_lines, true});
      }
    }
  }

  void write_keys(float const* sums, float factor, bf16* out) const {
    for (std::int64_t key = 0; key < s_.keys; key += panel_lines)
      for (std::int64_t d = 0; d < depth_panels(); ++d, sums += block)
        write_block(sums, {s_.keys - key, s_.head_dim - d * panel_lines}, factor,
                    out + key * key_stride() + d * panel_lines, key_stride());
  }

  Attention s_;
};

}  // namespace nxd::detail
#endif
