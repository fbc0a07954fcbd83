// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <vector>

#include <nxd/tensor/kernels/amx.hpp>
#include <nxd/tensor/kernels/product_store.hpp>
#include <nxd/tensor/kernels/product_table.hpp>
#include <nxd/tensor/kernels/scratch.hpp>

namespace nxd {

/// What the makers of products reach in a class, in GFLOP/s: 0 of those that cannot make it.
using ProductRates = std::array<double, names_of(ProductMaker{}).size()>;

namespace detail {

/// What stands for a class of lengths.
constexpr std::int64_t typical(ProductLength length) {
  constexpr std::array<std::int64_t, ProductTable::lengths> all{32, 192, 1024};
  return all[static_cast<std::size_t>(length)];
}

/// Seconds that each kind of work takes: they take turns; the median of the turns.
inline std::vector<double> seconds_in_turn(std::vector<std::function<void()>> const& works) {
  using Clock = std::chrono::steady_clock;
  auto const seconds = [](std::function<void()> const& work, int times) {
    auto const start = Clock::now();
    for (int i = 0; i < times; ++i) work();
    return std::chrono::duration<double>(Clock::now() - start).count() / times;
  };
  constexpr int turns = 5;
  std::vector<std::array<double, turns>> all(works.size());
  works[0]();
  auto const times = static_cast<int>(std::clamp(1e-3 / seconds(works[0], 1), 1., 1000.));
  for (int turn = -1; turn < turns; ++turn)
    for (std::size_t i = 0; i < works.size(); ++i) {
      auto const s = seconds(works[i], times);
      if (turn >= 0) all[i][static_cast<std::size_t>(turn)] = s;
    }
  std::vector<double> medians;
  for (auto& s : all) {
    std::ranges::sort(s);
    medians.push_back(s[turns / 2]);
  }
  return medians;
}

/// The operands and the result of the longest products that are measured.
template <class T> class CalibrationMemory {
 public:
  CalibrationMemory() {
    for (std::size_t i = 0; i < all_.size(); ++i) {
      all_[i] = reinterpret_cast<T*>(rooms_[i].at_least(longest * longest * sizeof(T)));
      for (std::int64_t j = 0; j < longest * longest; ++j)
        write(static_cast<float>(j * 37 % 101) / 101 - .5f, all_[i] + j);
    }
  }
  T* operator[](std::size_t i) const { return all_[i]; }

 private:
  static constexpr auto longest = typical(ProductLength::high);
  std::array<Scratch, 3> rooms_;
  std::array<T*, 3> all_{};
};

/// Who may make products of a class: more than OpenBLAS, unless they are AMX's.
inline std::vector<ProductMaker> makers_to_measure(ProductClass const& c) {
  std::vector<ProductMaker> all;
  for (std::size_t i = 0; i < names_of(ProductMaker{}).size(); ++i)
    if (auto const maker = static_cast<ProductMaker>(i); can_make(maker, c.type))
      all.push_back(maker);
  if (all.size() < 2 || (c.type == ProductType::bf16 && has_amx())) return {};
  return all;
}

/// A product of a class, by whoever is to make it. `Floats` and `Shorts` have `multiply_by`.
template <class Floats, class Shorts> class CalibrationWork {
 public:
  void operator()(ProductClass const& c, ProductMaker maker) const {
    auto const m = typical(c.m), n = typical(c.n), k = typical(c.k);
    bool const x_rows = c.form == ProductForm::nn || c.form == ProductForm::nt;
    bool const y_rows = c.form == ProductForm::nt || c.form == ProductForm::tt;
    auto const x_line = x_rows ? k : 1, x_step = x_rows ? 1 : m;
    auto const y_line = y_rows ? k : 1, y_step = y_rows ? 1 : n;
    if (c.type == ProductType::fp32)
      Floats::multiply_by(maker, m, n, k, FloatOperand{floats_[0], x_line, x_step},
                          FloatOperand{floats_[1], y_line, y_step}, FloatResult{floats_[2], n});
    else
      Shorts::multiply_by(maker, m, n, k, Bf16Operand{shorts_[0], x_line, x_step},
                          Bf16Operand{shorts_[1], y_line, y_step}, StoreProduct{shorts_[2], n});
  }

 private:
  CalibrationMemory<float> floats_;
  CalibrationMemory<bf16> shorts_;
};

}  // namespace detail

/// Measures who makes which class of products fastest, with all threads of the process: some
/// seconds. `Floats` and `Shorts` are `SimdProduct` and `Bf16Product`. Another than OpenBLAS has to
/// be faster than it by a hundredth. `told(class, rates)` sees each class that is measured.
template <class Floats, class Shorts>
ProductTable calibrate_products(
    std::function<void(ProductClass const&, ProductRates const&)> const& told) {
  detail::CalibrationWork<Floats, Shorts> const work;
  ProductTable table;
  for (std::size_t i = 0; i < ProductTable::size; ++i) {
    auto const c = ProductTable::at(i);
    table[i] = ProductMaker::openblas;
    auto const makers = detail::makers_to_measure(c);
    if (makers.empty()) continue;
    std::vector<std::function<void()>> works;
    for (auto const maker : makers) works.emplace_back([&, maker] { work(c, maker); });
    auto const seconds = detail::seconds_in_turn(works);
    auto const operations = 2e-9 * static_cast<double>(detail::typical(c.m) * detail::typical(c.n) *
                                                       detail::typical(c.k));
    ProductRates rates{};
    auto fastest = .99 * seconds[0];
    for (std::size_t j = 0; j < makers.size(); ++j) {
      rates[static_cast<std::size_t>(makers[j])] = operations / seconds[j];
      if (j > 0 && seconds[j] < fastest) table[i] = makers[j], fastest = seconds[j];
    }
    told(c, rates);
  }
  return table;
}

}  // namespace nxd
