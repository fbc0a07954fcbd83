// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <functional>

#include <nxd/tensor/kernels/product_table.hpp>

namespace nxd {

/// What the makers of products reach in a class, in GFLOP/s.
using ProductRates = std::array<double, names_of(ProductMaker{}).size()>;

namespace detail {

/// What stands for a class of lengths.
constexpr std::int64_t typical(ProductLength length) {
  constexpr std::array<std::int64_t, ProductTable::lengths> all{32, 192, 1024};
  return all[static_cast<std::size_t>(length)];
}

/// Seconds that each kind of work takes: they take turns; the median of the turns.
template <std::size_t N>
std::array<double, N> seconds_in_turn(std::array<std::function<void()>, N> const& works) {
  using Clock = std::chrono::steady_clock;
  auto const seconds = [](std::function<void()> const& work, int times) {
    auto const start = Clock::now();
    for (int i = 0; i < times; ++i) work();
    return std::chrono::duration<double>(Clock::now() - start).count() / times;
  };
  constexpr int turns = 5;
  std::array<std::array<double, turns>, N> all{};
  works[0]();
  auto const times = static_cast<int>(std::clamp(1e-3 / seconds(works[0], 1), 1., 1000.));
  for (int turn = -1; turn < turns; ++turn)
    for (std::size_t i = 0; i < N; ++i) {
      auto const s = seconds(works[i], times);
      if (turn >= 0) all[i][static_cast<std::size_t>(turn)] = s;
    }
  std::array<double, N> medians{};
  for (std::size_t i = 0; i < N; ++i) {
    std::ranges::sort(all[i]);
    medians[i] = all[i][turns / 2];
  }
  return medians;
}

}  // namespace detail

/// Measures who makes which class of products fastest, with all threads of the process: some
/// seconds. `Products` has `multiply_by`: `SimdProduct`. Another than OpenBLAS has to be faster by
/// a hundredth. `told(class, rates)` sees each class.
template <class Products>
ProductTable calibrate_products(
    std::function<void(ProductClass const&, ProductRates const&)> const& told) {
  constexpr auto longest = detail::typical(ProductLength::high);
  detail::AmxScratch rooms[3];
  std::array<float*, 3> memory{};
  for (std::size_t i = 0; i < 3; ++i) {
    memory[i] = reinterpret_cast<float*>(rooms[i].at_least(longest * longest * sizeof(float)));
    for (std::int64_t j = 0; j < longest * longest; ++j)
      memory[i][j] = static_cast<float>(j * 37 % 101) / 101 - .5f;
  }
  ProductTable table;
  for (std::size_t i = 0; i < ProductTable::size; ++i) {
    auto const c = ProductTable::at(i);
    auto const m = detail::typical(c.m), n = detail::typical(c.n), k = detail::typical(c.k);
    bool const x_rows = c.form == ProductForm::nn || c.form == ProductForm::nt;
    bool const y_rows = c.form == ProductForm::nt || c.form == ProductForm::tt;
    auto const by = [&, m, n, k](ProductMaker maker) {
      return [=] {
        Products::multiply_by(
            maker, m, n, k, {memory[0], x_rows ? k : 1, x_rows ? std::int64_t{1} : m},
            {memory[1], y_rows ? k : 1, y_rows ? std::int64_t{1} : n}, {memory[2], n});
      };
    };
    table[i] = ProductMaker::openblas;
    if (!has_avx512()) continue;
    auto const seconds =
        detail::seconds_in_turn<2>({by(ProductMaker::openblas), by(ProductMaker::avx512)});
    auto const operations = 2e-9 * static_cast<double>(m * n * k);
    told(c, {operations / seconds[0], operations / seconds[1]});
    if (seconds[1] < .99 * seconds[0]) table[i] = ProductMaker::avx512;
  }
  return table;
}

}  // namespace nxd
