// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <vector>

#include <nxd/core/error.hpp>
#include <nxd/core/random.hpp>
#include <nxd/core/verdict.hpp>

namespace nxd {

/// In which order samples come: a pure function of (seed, epoch, index), with nothing to build or
/// to save. Not shuffled: 0, 1, 2, ... Shuffled: a Feistel permutation of ten rounds over the
/// next power of four, walked until it falls among the samples (Black and Rogaway, 2002). With four
/// rounds, neighbours would stay neighbours too often.
struct SampleOrder {
  std::int64_t size = 0;
  std::uint64_t seed = 0;
  bool shuffle = true;

  /// The sample at place `consumed`, counted from the beginning of training over all epochs.
  constexpr std::int64_t operator()(std::int64_t consumed) const {
    auto const epoch = consumed / size;
    auto at = static_cast<std::uint64_t>(consumed % size);
    if (!shuffle || size < 2) return static_cast<std::int64_t>(at);
    auto const bits = static_cast<unsigned>(std::bit_width(static_cast<std::uint64_t>(size - 1)));
    auto const half = (bits + 1) / 2;
    do at = permute(at, half, static_cast<std::uint64_t>(epoch));
    while (at >= static_cast<std::uint64_t>(size));
    return static_cast<std::int64_t>(at);
  }

 private:
  static constexpr std::uint64_t rounds = 10;

  constexpr std::uint64_t permute(std::uint64_t at, unsigned half, std::uint64_t epoch) const {
    auto const mask = (std::uint64_t{1} << half) - 1;
    auto left = at >> half, right = at & mask;
    Philox const random{seed};
    for (std::uint64_t round = 0; round < rounds; ++round) {
      auto const mixed = left ^ (random(right, epoch * rounds + round)[0] & mask);
      left = right;
      right = mixed;
    }
    return left << half | right;
  }
};

/// How a global batch is made of microbatches.
struct BatchSizes {
  std::int64_t global = 1;         ///< samples of a step, over all ranks
  std::int64_t micro = 1;          ///< samples a rank computes on at a time
  std::int64_t data_parallel = 1;  ///< ranks

  /// Microbatches of a step on every rank.
  constexpr std::int64_t accumulate() const { return global / (micro * data_parallel); }

  /// Place of sample `row` of microbatch m on data-parallel rank r in step s (from 0): the samples
  /// of a step are [s global, (s + 1) global) on any number of ranks.
  constexpr std::int64_t place(std::int64_t step, std::int64_t m, std::int64_t r,
                               std::int64_t row) const {
    return step * global + (m * data_parallel + r) * micro + row;
  }
};

/// A global batch is a whole number of microbatches on every rank.
constexpr Verdict check_batches(BatchSizes const& b) {
  if (b.global > 0 && b.global % (b.micro * b.data_parallel) == 0) return {};
  return {Rule::global_batch_must_be_a_multiple_of_micro_batches, b.global,
          b.micro * b.data_parallel};
}

}  // namespace nxd
