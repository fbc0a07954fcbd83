// SPDX-License-Identifier: Apache-2.0
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include <nxd/core/random.hpp>
#include <nxd/tensor/kernels/simd_product.hpp>

using namespace nxd;

namespace {

/// A product z[m, n] = sum over k, its operands with room between their rows.
struct Case {
  std::int64_t m, n, k;
  bool x_turned = false, y_turned = false;
  std::int64_t gap = 0;
  bool accumulate = false;

  std::int64_t x_row() const { return (x_turned ? m : k) + gap; }
  std::int64_t y_row() const { return (y_turned ? n : k) + 2 * gap; }
  std::int64_t z_row() const { return n + 3 * gap; }
  std::int64_t x_size() const { return (x_turned ? k : m) * x_row(); }
  std::int64_t y_size() const { return (y_turned ? k : n) * y_row(); }
  std::int64_t z_size() const { return m * z_row(); }
  std::int64_t x_at(std::int64_t i, std::int64_t l) const {
    return x_turned ? l * x_row() + i : i * x_row() + l;
  }
  std::int64_t y_at(std::int64_t j, std::int64_t l) const {
    return y_turned ? l * y_row() + j : j * y_row() + l;
  }
  AmxProduct::Operand x(std::vector<float> const& v) const {
    return {v.data(), x_turned ? 1 : x_row(), x_turned ? x_row() : 1};
  }
  AmxProduct::Operand y(std::vector<float> const& v) const {
    return {v.data(), y_turned ? 1 : y_row(), y_turned ? y_row() : 1};
  }
};

struct Size {
  std::int64_t m, n, k;
};

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

std::vector<float> numbers(std::int64_t count, std::uint64_t stream) {
  std::vector<float> v(at(count));
  for (std::size_t i = 0; i < v.size(); ++i)
    v[i] = static_cast<float>(Stream(stream, "numbers").normal(i));
  return v;
}

template <Bf16Terms split>
void multiply(Case const& c, std::vector<float> const& x, std::vector<float> const& y,
              std::vector<float>& z) {
  AmxProduct::multiply<split>(c.m, c.n, c.k, c.x(x), c.y(y), z.data(), c.z_row(), c.accumulate);
}

/// The sums as they should be, and the root mean square of what is summed: what rounding of the
/// operands can do, whatever cancels.
struct Reference {
  std::vector<double> z;
  double size = 0;

  Reference(Case const& c, std::vector<float> const& x, std::vector<float> const& y,
            std::vector<float> const& before)
      : z(before.begin(), before.end()) {
    for (std::int64_t i = 0; i < c.m; ++i)
      for (std::int64_t j = 0; j < c.n; ++j) {
        auto& sum = z[at(i * c.z_row() + j)];
        if (!c.accumulate) sum = 0;
        size += sum * sum;
        for (std::int64_t l = 0; l < c.k; ++l) {
          auto const product =
              static_cast<double>(x[at(c.x_at(i, l))]) * static_cast<double>(y[at(c.y_at(j, l))]);
          sum += product;
          size += product * product;
        }
      }
  }

  /// The root mean square of the errors, against the size; z's gaps are to be as they were.
  double error(std::vector<float> const& other) const {
    double errors = 0;
    for (std::size_t i = 0; i < z.size(); ++i) {
      auto const apart = static_cast<double>(other[i]) - z[i];
      errors += apart * apart;
    }
    return std::sqrt(errors / size);
  }
};

struct Errors {
  double one, two;
};

Errors errors_of(Case const& c) {
  auto const x = numbers(c.x_size(), 1), y = numbers(c.y_size(), 2),
             before = numbers(c.z_size(), 3);
  Reference const reference(c, x, y, before);
  auto one = before, two = before;
  multiply<Bf16Terms::one>(c, x, y, one);
  multiply<Bf16Terms::two>(c, x, y, two);
  return {reference.error(one), reference.error(two)};
}

/// Whether the machine lacks what is tested here; says so.
bool skipped() {
  if (!has_amx()) MESSAGE("skipped: this machine has no AMX with bf16");
  return !has_amx();
}

/// A training process's mode, put back at the end.
struct Mode {
  explicit Mode(ProductMode mode) { product_mode() = mode; }
  ~Mode() { product_mode() = ProductMode::fp32; }
};

Product product_of(Case const& c) {
  return {{c.m, c.x_turned ? 1 : c.x_row(), 0, c.z_row()},
          {c.n, 0, c.y_turned ? 1 : c.y_row(), 1},
          {c.k, c.x_turned ? c.x_row() : 1, c.y_turned ? c.y_row() : 1, 0},
          {},
          0};
}

}  // namespace

TEST_CASE("products of tiles are products, whatever their sizes and however their operands lie") {
  if (skipped()) return;
  std::vector<std::int64_t> const extents{1, 2, 13, 16, 17, 33, 67, 130};
  double one = 0, two = 0;
  for (auto const m : extents)
    for (auto const n : extents)
      for (auto const k : extents)
        for (int lie = 0; lie < 4; ++lie) {
          auto const gap = (m + n + k) % 3;
          Case const c{m, n, k, lie % 2 == 1, lie >= 2, gap, (m + n + k + lie) % 2 == 1};
          auto const e = errors_of(c);
          INFO("m " << m << ", n " << n << ", k " << k << ", lie " << lie);
          // Few products average nothing: each may be off by all that rounding allows.
          bool const few = m * n * k < 2000;
          REQUIRE(e.one <= (few ? 8e-3 : 4e-3));
          REQUIRE(e.two <= (few ? 2.4e-5 : 8e-6));
          one = std::max(one, few ? 0 : e.one), two = std::max(two, few ? 0 : e.two);
        }
  MESSAGE("largest relative errors: bf16 " << one << ", bf16x3 " << two);
}

TEST_CASE("products in several parts, strips and threads are products") {
  if (skipped()) return;
  for (int lie = 0; lie < 4; ++lie)
    for (auto const& size :
         {Size{70, 75, 4500}, Size{4200, 40, 70}, Size{40, 4200, 70}, Size{600, 330, 1100}}) {
      auto const m = size.m, n = size.n, k = size.k;
      Case const c{m, n, k, lie % 2 == 1, lie >= 2, 5, lie % 3 == 1};
      INFO("m " << m << ", n " << n << ", k " << k << ", lie " << lie);
      auto const e = errors_of(c);
      CHECK(e.one < 4e-3);
      CHECK(e.two < 8e-6);
    }
}

TEST_CASE("nothing summed is nothing, and nothing is added") {
  if (skipped()) return;
  std::vector<float> const x(1), y(1);
  std::vector<float> z(at(40 * 40), 7.f);
  multiply<Bf16Terms::two>({40, 40, 0, false, false, 0, true}, x, y, z);
  CHECK(std::ranges::all_of(z, [](float v) { return v == 7.f; }));
  multiply<Bf16Terms::two>({40, 40, 0}, x, y, z);
  CHECK(std::ranges::all_of(z, [](float v) { return v == 0.f; }));
}

TEST_CASE("bits depend neither on threads, nor on the time, nor on how operands lie") {
  if (skipped()) return;
  auto const threads = omp_get_max_threads();
  for (auto const& size : {Size{700, 333, 129}, Size{100, 900, 2500}}) {
    auto const m = size.m, n = size.n, k = size.k;
    Case const c{m, n, k};
    Case const turned{m, n, k, true, true};
    auto const x = numbers(m * k, 1), y = numbers(n * k, 2);
    auto xt = x, yt = y;
    for (std::int64_t l = 0; l < k; ++l) {
      for (std::int64_t i = 0; i < m; ++i) xt[at(turned.x_at(i, l))] = x[at(c.x_at(i, l))];
      for (std::int64_t j = 0; j < n; ++j) yt[at(turned.y_at(j, l))] = y[at(c.y_at(j, l))];
    }
    auto const run = [&](int count, bool turn) {
      omp_set_num_threads(count);
      std::vector<float> z(at(m * n), std::numeric_limits<float>::quiet_NaN());
      multiply<Bf16Terms::two>(turn ? turned : c, turn ? xt : x, turn ? yt : y, z);
      return z;
    };
    auto const first = run(1, false);
    CHECK(first == run(1, false));
    CHECK(first == run(2, false));
    CHECK(first == run(3, false));
    CHECK(first == run(2, true));
  }
  omp_set_num_threads(threads);
}

TEST_CASE("what is not finite stays so, where it counts and nowhere else") {
  if (skipped()) return;
  constexpr std::int64_t m = 37, n = 45, k = 50;
  auto const infinity = std::numeric_limits<float>::infinity();
  for (auto const bad : {infinity, -infinity, std::numeric_limits<float>::quiet_NaN()}) {
    Case const c{m, n, k, false, true};
    auto x = numbers(c.x_size(), 1);
    auto const y = numbers(c.y_size(), 2);
    x[at(c.x_at(33, 49))] = bad;
    std::vector<float> one(at(m * n)), two(at(m * n));
    multiply<Bf16Terms::one>(c, x, y, one);
    multiply<Bf16Terms::two>(c, x, y, two);
    for (auto const* z : {&one, &two})
      for (std::int64_t i = 0; i < m; ++i)
        for (std::int64_t j = 0; j < n; ++j) {
          auto const value = (*z)[at(i * n + j)];
          REQUIRE(std::isfinite(value) == (i != 33));
          if (std::isnan(bad) && i == 33) REQUIRE(std::isnan(value));
        }
    if (!std::isnan(bad))
      for (std::int64_t j = 0; j < n; ++j)
        REQUIRE(one[at(33 * n + j)] == (y[at(c.y_at(j, 49))] > 0 ? bad : -bad));
  }
}

TEST_CASE("numbers too small for bf16 count as zero, large and small ones as themselves") {
  if (skipped()) return;
  constexpr std::int64_t m = 20, n = 20, k = 40;
  Case const c{m, n, k};
  auto const product = [&](float a, float b) {
    std::vector<float> const x(at(m * k), a), y(at(n * k), b);
    std::vector<float> z(at(m * n));
    multiply<Bf16Terms::two>(c, x, y, z);
    CHECK(std::ranges::all_of(z, [&](float v) { return v == z[0]; }));
    return static_cast<double>(z[0]);
  };
  CHECK(product(1e-40f, 1.f) == 0);
  CHECK(product(1e-40f, 1e38f) == 0);
  CHECK(product(1.1e-30f, 1.3e30f) == doctest::Approx(k * 1.1 * 1.3).epsilon(2e-5));
  CHECK(product(1.1e-20f, 1.3e-15f) == doctest::Approx(k * 1.1 * 1.3e-35).epsilon(1e-4));
  CHECK(product(3.1e37f, 0.2f) == doctest::Approx(k * 3.1e37 * 0.2).epsilon(2e-5));
}

TEST_CASE("in mode bf16x3 products are right on every machine, and by tiles where they gain") {
  CHECK(product_mode() == ProductMode::fp32);
  Mode const mode(ProductMode::bf16x3);
  for (auto const& size :
       {Size{3, 5, 7}, Size{150, 130, 170}, Size{9, 400, 300}, Size{1, 500, 600}})
    for (int lie = 0; lie < 8; ++lie) {
      auto const m = size.m, n = size.n, k = size.k;
      Case const c{m, n, k, lie % 2 == 1, lie / 2 % 2 == 1, 3, lie >= 4};
      auto const x = numbers(c.x_size(), 1), y = numbers(c.y_size(), 2);
      auto const before = numbers(c.z_size(), 3);
      auto z = before, by_tiles = before;
      SimdProduct::multiply(product_of(c), x.data(), y.data(), z.data(), c.accumulate);
      INFO("m " << m << ", lie " << lie);
      CHECK(Reference(c, x, y, before).error(z) < 8e-6);
      if (!has_amx()) continue;
      multiply<Bf16Terms::two>(c, x, y, by_tiles);
      CHECK((z == by_tiles) == (m * n * k > 300000 && m > 1));
    }
}

TEST_CASE("in mode fp32 products that the table gives to BLAS are its own, bit for bit") {
  Case const c{150, 130, 170};
  auto const x = numbers(c.x_size(), 1), y = numbers(c.y_size(), 2);
  std::vector<float> ours(at(c.z_size())), theirs(at(c.z_size()));
  auto const table = product_table();
  for (std::size_t i = 0; i < ProductTable::size; ++i) product_table()[i] = ProductMaker::openblas;
  SimdProduct::multiply(product_of(c), x.data(), y.data(), ours.data(), false);
  product_table() = table;
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, 150, 130, 170, 1, x.data(), 170, y.data(),
              170, 0, theirs.data(), 130);
  CHECK(ours == theirs);
}
