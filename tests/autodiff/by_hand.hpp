// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string_view>

#include "brute_force.hpp"

// The operations as loops over what one rank holds, written without the library.

namespace nxd::test {

using Held = std::optional<std::vector<double>>;

/// z = sum of x y, dimensions named by letters: einsum("mk", "nk", "mn").
inline LocalOp einsum(std::string_view xs, std::string_view ys, std::string_view zs) {
  return [=](std::vector<Operands> const& ranks, std::size_t r) -> Held {
    auto const& x = ranks[r][0];
    auto const& y = ranks[r][1];
    std::map<char, std::int64_t> extents;
    auto const fits = [&](std::string_view names, Extents const& shape) {
      for (std::size_t d = 0; d < names.size(); ++d)
        if (extents.emplace(names[d], shape[d]).first->second != shape[d]) return false;
      return true;
    };
    if (!fits(xs, x.shape) || !fits(ys, y.shape)) return {};
    std::map<char, std::int64_t> at;
    for (auto const& [name, extent] : extents) at[name] = 0;
    auto const index = [&](std::string_view names) {
      std::int64_t i = 0;
      for (auto const name : names) i = i * extents[name] + at[name];
      return static_cast<std::size_t>(i);
    };
    std::int64_t size = 1;
    for (auto const name : zs) size *= extents[name];
    std::vector<double> z(static_cast<std::size_t>(size));
    for (bool more = true; more;) {
      z[index(zs)] += x.values[index(xs)] * y.values[index(ys)];
      more = false;
      for (auto& [name, i] : at) {
        if (++i < extents[name]) {
          more = true;
          break;
        }
        i = 0;
      }
    }
    return z;
  };
}

/// f(x), element by element.
inline LocalOp element_wise(std::function<double(double)> f) {
  return [f](std::vector<Operands> const& ranks, std::size_t r) -> Held {
    auto z = ranks[r][0].values;
    for (auto& e : z) e = f(e);
    return z;
  };
}

inline Held add_by_hand(std::vector<Operands> const& ranks, std::size_t r) {
  auto const& [x, y] = std::tie(ranks[r][0], ranks[r][1]);
  if (x.shape != y.shape) return {};
  auto z = x.values;
  for (std::size_t i = 0; i < z.size(); ++i) z[i] += y.values[i];
  return z;
}

inline Held softmax_by_hand(std::vector<Operands> const& ranks, std::size_t r) {
  auto const& x = ranks[r][0];
  auto const n = static_cast<std::size_t>(x.shape.back());
  auto z = x.values;
  for (std::size_t row = 0; row < z.size(); row += n) {
    double sum = 0;
    for (std::size_t i = row; i < row + n; ++i) sum += z[i] = std::exp(z[i]);
    for (std::size_t i = row; i < row + n; ++i) z[i] /= sum;
  }
  return z;
}

inline Held rms_norm_by_hand(std::vector<Operands> const& ranks, std::size_t r) {
  auto const& [x, w] = std::tie(ranks[r][0], ranks[r][1]);
  if (x.shape.back() != w.shape[0]) return {};
  auto const n = w.values.size();
  auto z = x.values;
  for (std::size_t row = 0; row < z.size(); row += n) {
    double squares = 0;
    for (std::size_t i = 0; i < n; ++i) squares += z[row + i] * z[row + i];
    auto const inverse = 1 / std::sqrt(squares / static_cast<double>(n) + 1e-5);
    for (std::size_t i = 0; i < n; ++i) z[row + i] *= inverse * w.values[i];
  }
  return z;
}

/// silu(gate) * up of x[M, Pair, N].
inline Held swiglu_by_hand(std::vector<Operands> const& ranks, std::size_t r) {
  auto const& x = ranks[r][0];
  if (x.shape[1] != 2) return {};
  auto const n = static_cast<std::size_t>(x.shape[2]);
  std::vector<double> z;
  for (std::size_t row = 0; row < x.values.size(); row += 2 * n)
    for (std::size_t i = row; i < row + n; ++i)
      z.push_back(x.values[i] / (1 + std::exp(-x.values[i])) * x.values[i + n]);
  return z;
}

/// x[M, S, N, D] with the pairs (i, i + D / 2) turned by position * 0.3^i.
inline Held rotate_by_hand(std::vector<Operands> const& ranks, std::size_t r) {
  auto const& x = ranks[r][0];
  if (x.shape[3] % 2 != 0) return {};
  auto const half = static_cast<std::size_t>(x.shape[3] / 2);
  auto z = x.values;
  for (std::size_t i = 0; i < z.size(); ++i) {
    auto const in_head = i % (2 * half), pair = in_head % half;
    auto const position = static_cast<std::int64_t>(i / (2 * half)) / x.shape[2] % x.shape[1];
    auto const angle = static_cast<double>(x.first[1] + position) * std::pow(0.3, pair);
    auto const a = x.values[i - in_head + pair], b = x.values[i - in_head + pair + half];
    z[i] = in_head < half ? a * std::cos(angle) - b * std::sin(angle)
                          : b * std::cos(angle) + a * std::sin(angle);
  }
  return z;
}

/// Rows of table[V, E] that ids[M] name; a row that is not here is zero.
inline Held look_up_by_hand(std::vector<Operands> const& ranks, std::size_t r) {
  auto const& [table, ids] = std::tie(ranks[r][0], ranks[r][1]);
  auto const columns = static_cast<std::size_t>(table.shape[1]);
  std::vector<double> z;
  for (auto const id : ids.values) {
    auto const row = std::llround(std::trunc(id)) - table.first[0];
    auto const here = row >= 0 && row < table.valid[0];
    for (std::size_t c = 0; c < columns; ++c)
      z.push_back(here ? table.values[static_cast<std::size_t>(row) * columns + c] : 0);
  }
  return z;
}

inline constexpr double smoothing = 0.1, z_loss = 0.01;

/// Losses of logits[M, V] against labels[M]. Where the classes are split, sums over them are taken
/// over the ranks, each slice once.
inline LocalOp cross_entropy_by_hand(std::int64_t classes) {
  return [classes](std::vector<Operands> const& ranks, std::size_t r) -> Held {
    auto const& labels = ranks[r][1].values;
    if (ranks[r][0].shape[0] != std::ssize(labels)) return {};
    bool const split = ranks[r][0].shape[1] != classes;
    std::vector<double> z;
    for (std::size_t row = 0; row < labels.size(); ++row) {
      double sum = 0, all = 0, labelled = 0;
      std::vector<std::int64_t> seen;
      for (std::size_t peer = 0; peer < ranks.size(); ++peer) {
        auto const& x = ranks[split ? peer : r][0];
        if (std::ranges::find(seen, x.first[1]) != seen.end()) continue;
        seen.push_back(x.first[1]);
        for (std::int64_t c = 0; c < x.valid[1]; ++c) {
          auto const logit =
              x.values[row * static_cast<std::size_t>(x.shape[1]) + static_cast<std::size_t>(c)];
          sum += std::exp(logit);
          all += logit;
          if (x.first[1] + c == std::llround(std::trunc(labels[row]))) labelled = logit;
        }
      }
      auto const log_sum = std::log(sum);
      z.push_back(log_sum - (1 - smoothing) * labelled -
                  smoothing * all / static_cast<double>(classes) + z_loss * log_sum * log_sum);
    }
    return z;
  };
}

/// Causal attention of q[B, S, H, D] to k and v[B, T, G, D], two heads a key head. A rank numbers
/// its queries and keys from the last one that it holds.
inline Held attend_by_hand(std::vector<Operands> const& ranks, std::size_t r) {
  auto const& [q, k, v] = std::tie(ranks[r][0], ranks[r][1], ranks[r][2]);
  if (q.shape[0] != k.shape[0] || q.shape[3] != k.shape[3]) return {};
  auto const queries = q.shape[1], heads = q.shape[2], keys = k.shape[1], width = q.shape[3];
  auto const of = [&](Array const& x, std::int64_t b, std::int64_t s, std::int64_t h) {
    return x.values.data() + ((b * x.shape[1] + s) * x.shape[2] + h) * width;
  };
  std::vector<double> z;
  for (std::int64_t b = 0; b < q.shape[0]; ++b)
    for (std::int64_t i = 0; i < queries; ++i)
      for (std::int64_t h = 0; h < heads; ++h) {
        auto const g = (q.first[2] + h) / 2 - k.first[2];
        if (g < 0 || g >= k.shape[2]) return {};
        double sum = 0;
        std::vector<double> mean(static_cast<std::size_t>(width));
        for (std::int64_t j = 0; j < i + 1 + keys - queries; ++j) {
          double score = 0;
          for (std::int64_t d = 0; d < width; ++d) score += of(q, b, i, h)[d] * of(k, b, j, g)[d];
          auto const e = std::exp(score / 2);
          sum += e;
          for (std::int64_t d = 0; d < width; ++d)
            mean[static_cast<std::size_t>(d)] += e * of(v, b, j, g)[d];
        }
        for (auto const m : mean) z.push_back(sum > 0 ? m / sum : 0);
      }
  return z;
}

}  // namespace nxd::test
