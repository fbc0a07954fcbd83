// SPDX-License-Identifier: Apache-2.0
#ifdef _OPENMP
#include <omp.h>
#endif

#include <cmath>
#include <latch>
#include <random>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include <nxd/plan/calibrate_products.hpp>
#include <nxd/tensor/kernels/bf16_multiply.hpp>

#include "unlike_products.hpp"

using namespace nxd;

static_assert(OneDnnProduct::is_built_in);

namespace {

std::size_t prepared() { return detail::Matmuls::of_this_thread().prepared(); }

/// Numbers of a type, and the same in double.
template <class T> struct Numbers {
  std::vector<T> x;
  std::vector<double> d;

  Numbers(std::int64_t count, unsigned seed) {
    std::mt19937 engine(seed);
    std::normal_distribution<float> normal;
    for (std::int64_t i = 0; i < count; ++i) {
      x.emplace_back();
      detail::write(normal(engine), &x.back());
      d.push_back(static_cast<double>(detail::read(&x.back())));
    }
  }
  /// The largest difference between the two, over the largest number.
  double apart() const {
    double most = 1e-30, furthest = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      most = std::max(most, std::abs(d[i]));
      furthest = std::max(furthest, std::abs(static_cast<double>(detail::read(&x[i])) - d[i]));
    }
    return furthest / most;
  }
};

/// While this lives, oneDNN makes all products, and nothing is AMX's.
struct ByOneDnn {
  ByOneDnn() {
    amx_wanted() = false;
    for (std::size_t i = 0; i < ProductTable::size; ++i) product_table()[i] = ProductMaker::onednn;
  }
  ~ByOneDnn() {
    amx_wanted() = true;
    product_table() = ProductTable{};
  }
};

/// A product of floats or of bf16, and where its operands are: rows are so much longer than needed.
/// oneDNN has other kernels for what lies without gaps.
template <class T> struct Example {
  using Operand = std::conditional_t<std::is_same_v<T, float>, FloatOperand, Bf16Operand>;
  std::int64_t m, n, k;
  bool x_turned = false, y_turned = false;
  std::int64_t gap = 0;
  Numbers<T> x{(m + gap) * (k + gap), 1}, y{(n + gap) * (k + gap), 2};

  Operand left() const { return operand(x, m, x_turned); }
  Operand right() const { return operand(y, n, y_turned); }

  std::vector<float> operator()() const {
    std::vector<float> z(static_cast<std::size_t>(m * n), 7.f);
    OneDnnProduct::multiply(m, n, k, left(), right(), {z.data(), n});
    return z;
  }

 private:
  Operand operand(Numbers<T> const& v, std::int64_t lines, bool is_turned) const {
    return is_turned ? Operand{v.x.data(), 1, lines + gap} : Operand{v.x.data(), k + gap, 1};
  }
};

template <class T> void check_operands(Example<T> const& e, float alpha, bool accumulate) {
  auto const stride = e.n + 2;
  Numbers<float> z(e.m * stride, 3);
  auto const before = z.x;
  OneDnnProduct::multiply(e.m, e.n, e.k, e.left(), e.right(),
                          {z.x.data(), stride, alpha, accumulate});
  for (std::int64_t i = 0; i < e.m; ++i)
    for (std::int64_t j = 0; j < e.n; ++j) {
      auto const a = e.left().from(i, 0), b = e.right().from(j, 0);
      double sum = 0;
      for (std::int64_t l = 0; l < e.k; ++l)
        sum += static_cast<double>(detail::read(a.at + l * a.k_stride)) *
               static_cast<double>(detail::read(b.at + l * b.k_stride));
      auto& d = z.d[static_cast<std::size_t>(i * stride + j)];
      d = static_cast<double>(alpha) * sum + (accumulate ? d : 0);
    }
  CHECK(z.apart() < 1e-6);
  for (std::size_t i = 0; i < before.size(); ++i)
    if (static_cast<std::int64_t>(i) % stride >= e.n) REQUIRE(z.x[i] == before[i]);
}

template <class T> void check_all_operands() {
  struct Sizes {
    std::int64_t m, n, k;
  };
  for (auto const& s : {Sizes{1, 1, 1},
                        {33, 1, 7},
                        {1, 65, 40},
                        {14, 32, 384},
                        {70, 31, 0},
                        {113, 65, 1},
                        {5, 700, 271}})
    for (int form = 0; form < 4; ++form)
      for (int more = 0; more < 4; ++more) {
        CAPTURE(s.m);
        CAPTURE(form);
        CAPTURE(more);
        check_operands(Example<T>{s.m, s.n, s.k, (form & 1) != 0, (form & 2) != 0, more & 2},
                       form == 0 ? -.25f : 1.f, (more & 1) != 0);
      }
}

/// Has products of this thread made by so many; what they were made by before.
int set_threads([[maybe_unused]] int count) {
#ifdef _OPENMP
  auto const before = omp_get_max_threads();
  omp_set_num_threads(count);
  return before;
#else
  return 1;
#endif
}

}  // namespace

TEST_CASE("products by oneDNN are those in double, of any shape, however operands lie") {
  ByOneDnn const by;
  check_all_operands<float>();
  if (has_avx512_bf16()) check_all_operands<bf16>();
}

TEST_CASE("where the table says so, kernels have products of floats and of bf16 made by oneDNN") {
  ByOneDnn const by;
  constexpr std::int64_t m = 37, w = 29, k = 53, b = 3;
  Numbers<float> const x(b * m * k, 1), y(b * w * k, 2);
  Numbers<bf16> const s(b * m * k, 4), t(b * w * k, 5);
  auto const products = unlike_products(b, m, w, k);
  auto const prepared_before = prepared();
  for (auto const& p : products)
    for (bool const accumulate : {false, true}) {
      CAPTURE(&p - products.data());
      CAPTURE(accumulate);
      Numbers<float> z(b * m * k, 3), f(b * m * k, 3);
      Numbers<bf16> h(b * m * k, 3);
      SimdProduct::multiply(p, x.x.data(), y.x.data(), z.x.data(), accumulate);
      PlainProduct<double>::multiply(p, x.d.data(), y.d.data(), z.d.data(), accumulate);
      CHECK(z.apart() < 1e-5);
      Bf16Multiply::multiply(p, s.x.data(), t.x.data(), f.x.data(), accumulate);
      Bf16Multiply::multiply(p, s.x.data(), t.x.data(), h.x.data(), accumulate);
      PlainProduct<double>::multiply(p, s.d.data(), t.d.data(), f.d.data(), accumulate);
      PlainProduct<double>::multiply(p, s.d.data(), t.d.data(), h.d.data(), accumulate);
      CHECK(f.apart() < 1e-5);
      CHECK(h.apart() < 0x1p-8 * 1.01);
    }
  CHECK(prepared() >= prepared_before + (has_avx512_bf16() ? 8 : 4));
}

TEST_CASE("the same product has the same bits again, and nothing is prepared for it again") {
  ByOneDnn const by;
  Example<float> const one{150, 270, 400};
  auto const first = one();
  auto const kept = prepared();
  for (int i = 0; i < 3; ++i) CHECK(one() == first);
  CHECK(prepared() == kept);
}

TEST_CASE("what a thread keeps prepared is bounded") {
  ByOneDnn const by;
  Example<float> const one{1, 1, 1};
  for (std::int64_t stride = 1; stride < 300; ++stride) {
    float z = 0;
    OneDnnProduct::multiply(1, 1, 1, one.left(), one.right(), {&z, stride});
    REQUIRE(z == one.x.x[0] * one.y.x[0]);
    REQUIRE(prepared() <= 256);
  }
}

TEST_CASE("threads multiply beside each other, and inside a parallel region each for itself") {
  ByOneDnn const by;
  constexpr std::size_t count = 4;
  std::vector<Example<float>> each(count, {190, 170, 300});
  for (std::size_t i = 0; i < count; ++i) {
    each[i].x = {std::ssize(each[i].x.x), static_cast<unsigned>(10 + i)};
    each[i].y = {std::ssize(each[i].y.x), static_cast<unsigned>(20 + i)};
  }
  std::vector<std::vector<float>> beside(count), inside(count);
  std::latch start(count);
  std::vector<std::thread> all;
  for (std::size_t i = 0; i < count; ++i)
    all.emplace_back([&, i] {
      set_threads(1);
      start.arrive_and_wait();
      beside[i] = each[i]();
      for (int turn = 0; turn < 100; ++turn)
        if (each[i]() != beside[i]) beside[i].clear();
    });
  for (auto& t : all) t.join();

  auto const threads = set_threads(count);
  (void)each[0]();  // prepared for several threads
#pragma omp parallel for
  for (std::size_t i = 0; i < count; ++i) inside[i] = each[i]();
  set_threads(1);
  for (std::size_t i = 0; i < count; ++i) {
    auto const alone = each[i]();
    CHECK(beside[i] == alone);
    CHECK(inside[i] == alone);
  }
  set_threads(threads);
}

TEST_CASE(
    "without a table, none are oneDNN's, and thin ones of bf16 where vectors of it are slow") {
  for (bool const slow : {false, true}) {
    product_table() = slow ? ProductTable::of_slow_bf16() : ProductTable();
    for (std::size_t i = 0; i < ProductTable::size; ++i) {
      auto const c = ProductTable::at(i);
      bool const thin = c.m == ProductLength::low || c.n == ProductLength::low;
      REQUIRE((product_maker(c) == ProductMaker::onednn) ==
              (slow && c.type == ProductType::bf16 && thin && has_avx512_bf16()));
    }
  }
  product_table() = ProductTable();
}

TEST_CASE("it is measured wherever it can be, in bf16 only where there is no AMX") {
  for (bool const tiles : {false, true}) {
    amx_wanted() = tiles;
    for (std::size_t i = 0; i < ProductTable::size; ++i) {
      auto const c = ProductTable::at(i);
      std::vector<ProductMaker> wanted{ProductMaker::openblas};
      bool const floats = c.type == ProductType::fp32;
      if (floats ? has_avx512() : has_avx512_bf16()) wanted.push_back(ProductMaker::avx512);
      if (floats || has_avx512_bf16()) wanted.push_back(ProductMaker::onednn);
      if (!floats && (has_amx() || !has_avx512_bf16())) wanted.clear();
      REQUIRE(detail::makers_to_measure(c) == wanted);
    }
  }
  amx_wanted() = true;
}
