// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include <doctest/doctest.h>

#include <nxd/data/sampler.hpp>

using namespace nxd;

namespace {

std::vector<std::int64_t> epoch_of(SampleOrder const& order, std::int64_t epoch) {
  std::vector<std::int64_t> all;
  for (std::int64_t i = 0; i < order.size; ++i) all.push_back(order(epoch * order.size + i));
  return all;
}

/// An epoch's order as a table: the whole permutation of the smallest power of four that has room,
/// from which numbers beyond the samples are then crossed out.
std::vector<std::int64_t> slow_epoch(SampleOrder const& order, std::int64_t epoch) {
  std::int64_t side = 2;
  while (side * side < order.size) side *= 2;
  std::vector<std::int64_t> next(static_cast<std::size_t>(side * side));
  for (std::int64_t from = 0; from < side * side; ++from) {
    auto left = from / side, right = from % side;
    for (std::int64_t round = 0; round < 10; ++round) {
      auto const word = Philox{order.seed}(static_cast<std::uint64_t>(right),
                                           static_cast<std::uint64_t>(10 * epoch + round))[0];
      auto const mixed = static_cast<std::int64_t>(static_cast<std::uint64_t>(left) ^
                                                   word % static_cast<std::uint64_t>(side));
      left = right;
      right = mixed;
    }
    next[static_cast<std::size_t>(from)] = side * left + right;
  }
  std::vector<std::int64_t> all(next.begin(), next.begin() + order.size);
  if (order.size == 1) return {0};
  for (auto& sample : all)
    while (sample >= order.size) sample = next[static_cast<std::size_t>(sample)];
  return all;
}

/// How many standard deviations a sum of squares over `freedom` degrees of freedom is from its
/// mean.
double deviations(double squares, double freedom) {
  return (squares - freedom) / std::sqrt(2 * freedom);
}

/// Of a table [sample of place] over many epochs: how far it is from even.
double unevenness(std::int64_t size, std::int64_t epochs, std::int64_t buckets) {
  std::vector<double> seen(static_cast<std::size_t>(buckets * buckets));
  std::vector<double> width(static_cast<std::size_t>(buckets));
  for (std::int64_t i = 0; i < size; ++i) ++width[static_cast<std::size_t>(i * buckets / size)];
  for (std::int64_t epoch = 0; epoch < epochs; ++epoch)
    for (std::int64_t i = 0; i < size; ++i) {
      auto const sample = SampleOrder{size, 7}(epoch * size + i);
      ++seen[static_cast<std::size_t>(i * buckets / size * buckets + sample * buckets / size)];
    }
  double squares = 0;
  for (std::size_t a = 0; a < width.size(); ++a)
    for (std::size_t b = 0; b < width.size(); ++b) {
      auto const expected =
          static_cast<double>(epochs) * width[a] * width[b] / static_cast<double>(size);
      auto const off = seen[a * width.size() + b] - expected;
      squares += off * off / expected;
    }
  // Counts of a permutation vary more than those of independent draws by n / (n - 1).
  auto const freedom = static_cast<double>((buckets - 1) * (buckets - 1));
  return deviations(squares * static_cast<double>(size - 1) / static_cast<double>(size), freedom);
}

/// Of pairs of places (0, 1), (2, 3), ...: how many standard deviations too often samples that are
/// neighbours in the data are neighbours in the order.
double clinging(std::int64_t size, std::int64_t epochs) {
  double seen = 0;
  for (std::int64_t epoch = 0; epoch < epochs; ++epoch) {
    auto const all = epoch_of({size, 7}, epoch);
    for (std::size_t i = 1; i < all.size(); i += 2) seen += std::abs(all[i] - all[i - 1]) == 1;
  }
  auto const expected = static_cast<double>(epochs * (size / 2)) * 2 / static_cast<double>(size);
  return (seen - expected) / std::sqrt(expected);
}

static_assert(SampleOrder{10, 7, false}(23) == 3, "the order is there at compile time");

}  // namespace

TEST_CASE("every epoch of any size has every sample once") {
  for (std::int64_t const size : {1,  2,  3,  4,   5,   7,   8,   15,   16,   17,   31,  63,
                                  64, 65, 97, 255, 256, 257, 999, 1024, 1025, 4096, 4099})
    for (std::int64_t const epoch : {0, 1, 5}) {
      CAPTURE(size);
      auto all = epoch_of({size, 11}, epoch);
      std::ranges::sort(all);
      std::vector<std::int64_t> counting(static_cast<std::size_t>(size));
      std::iota(counting.begin(), counting.end(), 0);
      CHECK(all == counting);
    }
}

TEST_CASE("the order is that of a permutation written out as a table") {
  for (std::int64_t const size : {1, 2, 3, 4, 5, 16, 17, 100, 256, 1000})
    for (std::int64_t const epoch : {0, 3})
      for (std::uint64_t const seed : {std::uint64_t{0}, ~std::uint64_t{0}}) {
        CAPTURE(size);
        SampleOrder const order{size, seed};
        CHECK(epoch_of(order, epoch) == slow_epoch(order, epoch));
      }
}

TEST_CASE("at each place every sample comes equally often") {
  for (std::int64_t const size : {3, 5, 7, 10, 40}) {
    CAPTURE(size);
    CHECK(std::abs(unevenness(size, 20000, std::min<std::int64_t>(size, 16))) < 4);
  }
  for (std::int64_t const size : {256, 1000, 4097}) {
    CAPTURE(size);
    CHECK(std::abs(unevenness(size, 100, 16)) < 4);
  }
}

TEST_CASE("neighbours in the data are neighbours in the order as often as chance has it") {
  for (std::int64_t const size : {64, 256, 1000, 4096}) {
    CAPTURE(size);
    CHECK(std::abs(clinging(size, 512000 / size)) < 4);
  }
}

TEST_CASE("a sample depends on seed, epoch and place alone") {
  SampleOrder const order{1000, 7};
  auto const first = epoch_of(order, 0), second = epoch_of(order, 1);
  for (std::int64_t i = 999; i >= 0; i -= 37) {
    CHECK(order(1000 + i) == second[static_cast<std::size_t>(i)]);
    CHECK(order(i) == first[static_cast<std::size_t>(i)]);
  }
  CHECK(SampleOrder{1000, 7}(123456789) == order(123456789));
  auto const alike = [](auto const& a, auto const& b) {
    std::int64_t n = 0;
    for (std::size_t i = 0; i < a.size(); ++i) n += a[i] == b[i];
    return n;
  };
  CHECK(alike(first, second) < 10);
  CHECK(alike(first, epoch_of({1000, 8}, 0)) < 10);
  CHECK(alike(second, epoch_of({1000, 8}, 0)) < 10);
}

TEST_CASE("what is not shuffled comes as 0, 1, 2 in every epoch, whatever the seed") {
  SampleOrder const order{5, 99, false};
  for (std::int64_t i = 0; i < 20; ++i) CHECK(order(i) == i % 5);
}

TEST_CASE("a step is the same samples on any number of ranks, across the end of an epoch too") {
  SampleOrder const order{100, 3};
  for (std::int64_t step = 0; step < 10; ++step) {
    std::vector<std::int64_t> wanted;
    for (std::int64_t i = 16 * step; i < 16 * (step + 1); ++i) wanted.push_back(order(i));
    std::ranges::sort(wanted);
    for (std::int64_t const ranks : {1, 2, 4, 8, 16})
      for (std::int64_t micro = 1; micro * ranks <= 16; micro *= 2) {
        BatchSizes const sizes{16, micro, ranks};
        std::vector<std::int64_t> seen;
        for (std::int64_t r = 0; r < ranks; ++r)
          for (std::int64_t m = 0; m < sizes.accumulate(); ++m)
            for (std::int64_t row = 0; row < micro; ++row)
              seen.push_back(order(sizes.place(step, m, r, row)));
        std::ranges::sort(seen);
        CHECK(seen == wanted);
      }
  }
}

namespace {

/// A run that is killed again and again, and goes on from its last checkpoint on another number of
/// ranks: which samples the updates were made of that its weights have in them.
std::vector<std::int64_t> samples_of_a_run(std::mt19937& random, SampleOrder const& order,
                                           std::int64_t global, std::int64_t steps) {
  std::vector<std::int64_t> used;
  for (std::int64_t step = 0; step < steps;) {
    BatchSizes sizes{global, 1, 1};
    do {
      sizes.data_parallel = 1 + static_cast<std::int64_t>(random()) % 8;
      sizes.micro = 1 + static_cast<std::int64_t>(random()) % 4;
    } while (!check_batches(sizes));
    auto const begun = step;
    auto const end = std::min(steps, step + 1 + static_cast<std::int64_t>(random()) % 9);
    for (; step < end; ++step)
      for (std::int64_t r = sizes.data_parallel; r-- > 0;)
        for (std::int64_t m = 0; m < sizes.accumulate(); ++m)
          for (std::int64_t row = 0; row < sizes.micro; ++row)
            used.push_back(order(sizes.place(step, m, r, row)));
    if (step < steps) step = begun + static_cast<std::int64_t>(random()) % (end - begun + 1);
    used.resize(static_cast<std::size_t>(step * global));  // what came after the checkpoint is lost
  }
  return used;
}

}  // namespace

TEST_CASE("however often a run is resumed, on however many ranks, no sample is repeated or lost") {
  std::mt19937 random(5);
  for (int history = 0; history < 10'000; ++history) {
    CAPTURE(history);
    auto const global = std::array<std::int64_t, 5>{1, 2, 3, 4, 6}[random() % 5];
    SampleOrder const order{5 + static_cast<std::int64_t>(random() % 16), random()};
    // As many epochs as a batch has samples: batches reach from one into the next.
    auto const used = samples_of_a_run(random, order, global, order.size);
    std::vector<std::int64_t> times(static_cast<std::size_t>(order.size));
    for (auto const sample : used) ++times[static_cast<std::size_t>(sample)];
    REQUIRE(times == std::vector(times.size(), global));
  }
}
