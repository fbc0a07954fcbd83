// SPDX-License-Identifier: Apache-2.0
#include <omp.h>

#include <cmath>
#include <random>
#include <vector>

#include <doctest/doctest.h>

#include <nxd/tensor/kernels/avx512_product.hpp>

using namespace nxd;

#if defined(__x86_64__)
namespace {

std::vector<float> numbers(std::int64_t count, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  std::vector<float> v(static_cast<std::size_t>(count));
  for (auto& x : v) x = normal(engine);
  return v;
}

/// A product whose operands lie one way or the other, within rows that are longer than needed.
struct Example {
  std::int64_t m, n, k;
  bool x_turned, y_turned;
  std::vector<float> x = numbers((m + 3) * (k + 5), 1), y = numbers((n + 3) * (k + 5), 2);

  FloatOperand left() const {
    return x_turned ? FloatOperand{x.data(), 1, m + 3} : FloatOperand{x.data(), k + 5, 1};
  }
  FloatOperand right() const {
    return y_turned ? FloatOperand{y.data(), 1, n + 3} : FloatOperand{y.data(), k + 5, 1};
  }
  std::vector<float> operator()(std::vector<float> z, std::int64_t stride, float alpha,
                                bool accumulate) const {
    Avx512Product::multiply(m, n, k, left(), right(), {z.data(), stride, alpha, accumulate});
    return z;
  }
  /// The largest difference from sums in double, over the largest sum; what lies between rows of z
  /// has to stay as it is.
  double error(float alpha, bool accumulate) const {
    auto const stride = n + 7;
    auto const before = numbers(m * stride, 3);
    auto const z = (*this)(before, stride, alpha, accumulate);
    double most = 1e-30, furthest = 0;
    for (std::int64_t i = 0; i < m; ++i)
      for (std::int64_t j = 0; j < stride; ++j) {
        auto const at = static_cast<std::size_t>(i * stride + j);
        if (j >= n) {
          if (z[at] != before[at]) return 1;
          continue;
        }
        double sum = 0;
        auto const a = left().from(i, 0), b = right().from(j, 0);
        for (std::int64_t l = 0; l < k; ++l)
          sum += static_cast<double>(a.at[l * a.k_stride]) * b.at[l * b.k_stride];
        sum = alpha * sum + (accumulate ? static_cast<double>(before[at]) : 0);
        most = std::max(most, std::abs(sum));
        furthest = std::max(furthest, std::abs(static_cast<double>(z[at]) - sum));
      }
    return furthest / most;
  }
};

}  // namespace

TEST_CASE("products by AVX-512 are those in double, of any shape, however operands lie") {
  if (!has_avx512()) return;
  struct Sizes {
    std::int64_t m, n, k;
  };
  std::vector<Sizes> all{{1, 1, 1},      {1, 33, 7},    {14, 32, 384},   {15, 31, 385}, {28, 64, 0},
                         {113, 65, 400}, {5, 900, 771}, {230, 17, 1153}, {17, 2085, 40}};
  for (std::int64_t edge = 1; edge <= 33; edge += 4) all.push_back({edge, 34 - edge, edge + 14});
  for (auto const& s : all)
    for (int form = 0; form < 4; ++form)
      for (bool const accumulate : {false, true}) {
        Example const example{s.m, s.n, s.k, (form & 1) != 0, (form & 2) != 0};
        CAPTURE(s.m);
        CAPTURE(s.n);
        CAPTURE(s.k);
        CAPTURE(form);
        CAPTURE(accumulate);
        CHECK(example.error(1, accumulate) < 1e-6);
        if (form == 0) CHECK(example.error(-.25f, accumulate) < 1e-6);
      }
}

TEST_CASE(
    "products by AVX-512 depend neither on threads nor on neighbours nor on how operands lie") {
  if (!has_avx512()) return;
  auto const threads = omp_get_max_threads();
  for (std::int64_t const m : {300, 70}) {
    auto const n = 370 - m;
    Example const plain{m, n, 1500, false, false};
    std::vector<float> const nothing(static_cast<std::size_t>(m * n));
    omp_set_num_threads(1);
    auto const one = plain(nothing, n, 1, false);
    for (int const count : {2, 3, 7}) {
      omp_set_num_threads(count);
      CHECK(plain(nothing, n, 1, false) == one);
    }
    auto turned = Example{m, n, 1500, true, true};
    for (std::int64_t l = 0; l < 1500; ++l) {
      for (std::int64_t i = 0; i < m; ++i)
        turned.x[static_cast<std::size_t>(l * (m + 3) + i)] = plain.left().from(i, l).at[0];
      for (std::int64_t j = 0; j < n; ++j)
        turned.y[static_cast<std::size_t>(l * (n + 3) + j)] = plain.right().from(j, l).at[0];
    }
    CHECK(turned(nothing, n, 1, false) == one);
    float alone = 0;
    Avx512Product::multiply(1, 1, 1500, plain.left().from(m - 1, 0), plain.right().from(n - 1, 0),
                            {&alone, 1});
    CHECK(alone == one.back());
  }
  // Of so many columns rows are packed, and for the last of them they are not.
  Example const wide{17, 2085, 40, false, false};
  auto const all = wide(std::vector<float>(17 * 2085), 2085, 1, false);
  std::vector<float> last(17 * 30);
  Avx512Product::multiply(17, 30, 40, wide.left(), wide.right().from(2055, 0), {last.data(), 30});
  for (std::size_t i = 0; i < last.size(); ++i)
    CHECK(last[i] == all[i / 30 * 2085 + 2055 + i % 30]);
  omp_set_num_threads(threads);
}
#endif
