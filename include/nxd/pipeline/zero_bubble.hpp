// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>

#include <nxd/pipeline/schedule.hpp>

namespace nxd {

/// 1F1B with the gradients of the weights taken out of the chain: rank r does them r microbatches
/// later, where 1F1B has its bubble. A step takes m (t_F + t_I + t_W) + (p - 1)(t_F + t_I - t_W);
/// every rank keeps the activations of min(m, p) microbatches.
struct ZbH1 {
  static constexpr std::string_view name = "zb-h1";

  static constexpr Verdict check(int /*ranks*/, int /*microbatches*/, int chunks) {
    return detail::check_chunks(chunks, 1);
  }

  static constexpr Schedule make(int ranks, int microbatches, int chunks = 1) {
    auto const forward = detail::each_microbatch(Pass::forward, microbatches);
    Schedule s{microbatches, chunks};
    s.actions.reserve(ranks);
    for (int r = 0; r < ranks; ++r) s.actions.push_back(rank(r, ranks - 1 - r, forward));
    return s;
  }

 private:
  static constexpr std::vector<Action> rank(int delay, int warmup,
                                            std::vector<Action> const& forward) {
    int const total = static_cast<int>(forward.size());
    std::vector<Action> actions;
    actions.reserve(3 * forward.size());
    for (int f = 0, k = 0; k < total + delay; ++k) {
      while (f < std::min(total, k + warmup + 1)) actions.push_back(forward[f++]);
      if (k < total) actions.push_back({Pass::input_gradient, k, 0});
      if (k >= delay) actions.push_back({Pass::weight_gradient, k - delay, 0});
    }
    return actions;
  }
};

namespace detail {

/// Writes the actions of a rank, counting each pass of each chunk; microbatches beyond the last
/// are counted and left out.
class Scribe {
 public:
  constexpr Scribe(int microbatches, int chunks)
      : microbatches_(microbatches), counts_(4 * chunks, 0) {
    actions_.reserve(3 * microbatches * chunks);
  }

  constexpr int count(Pass kind, int chunk) const { return counts_[slot(kind, chunk)]; }
  constexpr void next(Pass kind, int chunk) {
    int const k = counts_[slot(kind, chunk)]++;
    if (k < microbatches_) actions_.push_back({kind, k, chunk});
  }
  constexpr std::vector<Action> const& actions() const { return actions_; }

 private:
  static constexpr int slot(Pass kind, int chunk) { return 4 * chunk + static_cast<int>(kind); }

  int microbatches_;
  std::vector<int> counts_;
  std::vector<Action> actions_{};
};

}  // namespace detail

/// Two chunks on each rank, the second on the way back, so that the first rank has the loss and
/// the memory is even: every rank keeps 2 p half-sized chunks. Where t_F = t_I = t_W and
/// m >= 2 p - 1, no rank waits between its first and its last action, and a step takes
/// m (t_F + t_I + t_W) + (p - 1) t_F / 2.
struct ZbV {
  static constexpr std::string_view name = "zb-v";

  static constexpr Verdict check(int /*ranks*/, int /*microbatches*/, int chunks) {
    return detail::check_chunks(chunks, 2);
  }

  static constexpr Schedule make(int ranks, int microbatches, int chunks = 2) {
    Schedule s{.microbatches = microbatches, .chunks = chunks, .map = StageMap::v_shape};
    s.actions.reserve(ranks);
    for (int r = 0; r < ranks; ++r) s.actions.push_back(rank(ranks, microbatches, r));
    return s;
  }

 private:
  static constexpr std::vector<Action> rank(int ranks, int microbatches, int r) {
    constexpr auto forward = Pass::forward;
    constexpr auto input = Pass::input_gradient, weight = Pass::weight_gradient;
    int const padded = std::max(microbatches, 2 * ranks - 1);
    detail::Scribe line(microbatches, 2);

    auto const gradients = [&](int chunk) { line.next(input, chunk), line.next(weight, chunk); };
    for (int i = 0; i < 2 * (ranks - r) - 1; ++i) line.next(forward, 0);
    for (int i = 0; i < r; ++i) line.next(forward, 1), line.next(forward, 0);
    for (int i = 0; i < ranks - r; ++i) line.next(forward, 1), gradients(1);
    while (line.count(forward, 1) < line.count(forward, 0) || line.count(forward, 0) < padded) {
      if (line.count(forward, 0) < padded) line.next(forward, 0);
      gradients(0);
      line.next(forward, 1), gradients(1);
    }
    for (int i = 0; i < r; ++i) line.next(input, 0), line.next(input, 1);
    for (int i = 0; i < ranks - r; ++i) gradients(0);
    while (line.count(weight, 1) < padded) line.next(weight, 1);
    while (line.count(weight, 0) < padded) line.next(weight, 0);
    return line.actions();
  }
};

}  // namespace nxd
