// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <nxd/core/random.hpp>
#include <nxd/plan/fit.hpp>

using namespace nxd;

namespace {

/// Measurements of sizes m, n, k, of which mnk, mk, nk and mn have these prices: each divided by
/// its time, which is `off` by some part of itself.
std::vector<std::vector<double>> measured(std::array<double, 4> const& prices, double off = 0) {
  Stream const noise(3, "fit", 0);
  std::vector<std::vector<double>> rows;
  for (double const m : {16., 100., 256., 1000.})
    for (double const n : {32., 128., 700.})
      for (double const k : {8., 64., 512.}) {
        std::array const terms{m * n * k, m * k, n * k, m * n};
        double time = 0;
        for (std::size_t i = 0; i < 4; ++i) time += prices[i] * terms[i];
        time *= 1 + off * (2 * noise.uniform(rows.size()) - 1);
        rows.emplace_back();
        for (auto const term : terms) rows.back().push_back(term / time);
      }
  return rows;
}

}  // namespace

TEST_CASE("A fit finds the prices that made the measurements") {
  std::array const prices{2e-11, 3e-10, 5e-10, 1e-9};
  auto const found = fit_to_ones(measured(prices));
  REQUIRE(found.size() == 4);
  for (std::size_t i = 0; i < 4; ++i)
    CHECK(found[i] / prices[i] == doctest::Approx(1).epsilon(1e-5));
}

TEST_CASE("A fit is not led far by measurements that are a little off") {
  std::array const prices{2e-11, 3e-10, 5e-10, 1e-9};
  auto const rows = measured(prices, .05), exact = measured(prices);
  auto const found = fit_to_ones(rows);
  CHECK(found[0] / prices[0] == doctest::Approx(1).epsilon(.1));
  for (auto const& row : exact) {
    double sum = 0;
    for (std::size_t i = 0; i < 4; ++i) sum += row[i] * found[i];
    CHECK(sum == doctest::Approx(1).epsilon(.05));
  }
}

TEST_CASE("A price that would be negative is zero, and the others are the best without it") {
  auto const found = fit_to_ones({{1, 1}, {1, 2}, {1, 3}});  // 1 + 0 x; no slope
  CHECK(found[0] == doctest::Approx(1));
  CHECK(found[1] == doctest::Approx(0));
  // y falls where the second term rises: without bounds, x = (2, -1) would be exact.
  auto const bound = fit_to_ones({{1, 1}, {1.5, 2}, {2, 3}});
  CHECK(bound[1] == 0);
  CHECK(bound[0] == doctest::Approx((1 + 1.5 + 2) / (1 + 2.25 + 4)));
  for (double const off : {.3, .6, .9})
    for (auto const price : fit_to_ones(measured({2e-11, 0, 5e-10, 0}, off))) CHECK(price >= 0);
}

TEST_CASE("A term that is nowhere has no price") {
  auto const found = fit_to_ones({{2, 0}, {2, 0}});
  CHECK(found == std::vector<double>{.5, 0});
}
