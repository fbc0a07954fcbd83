// SPDX-License-Identifier: Apache-2.0
#include <omp.h>

#include <cmath>
#include <cstring>
#include <vector>

#include <doctest/doctest.h>

#include <nxd/core/random.hpp>
#include <nxd/tensor/kernels/bf16_multiply.hpp>
#include <nxd/tensor/kernels/simd.hpp>
#include <nxd/tensor/product_pieces.hpp>

#include "unlike_products.hpp"

using namespace nxd;
using Plain = PlainKernels<double>;

namespace {

struct Numbers {
  std::vector<float> f;
  std::vector<double> d;

  explicit Numbers(std::size_t n) : f(n), d(n) {}
  Numbers(std::size_t n, std::uint64_t stream, double factor = 1) : Numbers(n) {
    for (std::size_t i = 0; i < n; ++i) {
      f[i] = static_cast<float>(factor * Stream(stream, "numbers").normal(i));
      d[i] = static_cast<double>(f[i]);
    }
  }
};

/// The largest difference, against the largest number.
double apart(Numbers const& n) {
  double most = 1e-30, furthest = 0;
  for (std::size_t i = 0; i < n.f.size(); ++i) {
    most = std::max(most, std::abs(n.d[i]));
    furthest = std::max(furthest, std::abs(static_cast<double>(n.f[i]) - n.d[i]));
  }
  return furthest / most;
}

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

}  // namespace

TEST_CASE("products are those of plain loops, however their operands lie") {
  constexpr std::int64_t m = 37, n = 29, k = 53, b = 3;
  Numbers const x(size(b * m * k), 1), y(size(b * n * k), 2);
  auto const products = unlike_products(b, m, n, k);
  for (auto const& p : products)
    for (bool const accumulate : {false, true}) {
      Numbers z(size(b * m * std::max(n, k)), 3);
      SimdKernels::multiply(p, x.f.data(), y.f.data(), z.f.data(), accumulate);
      Plain::multiply(p, x.d.data(), y.d.data(), z.d.data(), accumulate);
      CHECK(apart(z) < 1e-6);
    }
}

TEST_CASE("normalisation and its pullback are those of plain loops") {
  for (std::int64_t const columns : {5, 64, 259}) {
    constexpr std::int64_t rows = 71;
    Numbers const x(size(rows * columns), 1), w(size(columns), 2), dy(size(rows * columns), 3);
    Numbers y(x.f.size()), inverse(size(rows)), dx(x.f.size()), dw(w.f.size());
    SimdKernels::rms_norm(rows, columns, 1e-5, x.f.data(), w.f.data(), y.f.data(),
                          inverse.f.data());
    Plain::rms_norm(rows, columns, 1e-5, x.d.data(), w.d.data(), y.d.data(), inverse.d.data());
    SimdKernels::rms_norm_pull(rows, columns, x.f.data(), w.f.data(), inverse.f.data(), dy.f.data(),
                               dx.f.data(), dw.f.data());
    Plain::rms_norm_pull(rows, columns, x.d.data(), w.d.data(), inverse.d.data(), dy.d.data(),
                         dx.d.data(), dw.d.data());
    for (auto const* n : {&y, &inverse, &dx, &dw}) CHECK(apart(*n) < 2e-6);
  }
}

TEST_CASE("gated units, rotations and softmax are those of plain loops") {
  constexpr std::int64_t rows = 23, columns = 75;
  Numbers const x(size(2 * rows * columns), 1, 3), dy(size(rows * columns), 2);
  Numbers y(dy.f.size()), dx(x.f.size()), s(dy.f.size());
  SimdKernels::swiglu(rows, columns, x.f.data(), y.f.data());
  Plain::swiglu(rows, columns, x.d.data(), y.d.data());
  SimdKernels::swiglu_pull(rows, columns, x.f.data(), dy.f.data(), dx.f.data());
  Plain::swiglu_pull(rows, columns, x.d.data(), dy.d.data(), dx.d.data());
  SimdKernels::softmax(rows, columns, 0.7, dy.f.data(), s.f.data());
  Plain::softmax(rows, columns, 0.7, dy.d.data(), s.d.data());
  for (auto const* n : {&y, &dx, &s}) CHECK(apart(*n) < 2e-6);

  Rotary const sizes{2, 7, 3, 10};
  Numbers const h(2 * 7 * 3 * 10, 3), c(7 * 5, 4), n(7 * 5, 5);
  Numbers turned(h.f.size());
  SimdKernels::rotate(sizes, h.f.data(), c.f.data(), n.f.data(), turned.f.data(), -1);
  Plain::rotate(sizes, h.d.data(), c.d.data(), n.d.data(), turned.d.data(), -1);
  CHECK(apart(turned) < 1e-6);
}

TEST_CASE("attention and its pullback are those of plain loops") {
  for (bool const causal : {true, false})
    for (std::int64_t const length : {1, 63, 64, 130}) {
      Attention const a{.batch = 2,
                        .queries = length,
                        .keys = length,
                        .heads = 4,
                        .kv_heads = 2,
                        .group = 2,
                        .first_head = 0,
                        .head_dim = 24,
                        .scale = 0.2,
                        .causal = causal};
      auto const wide = size(2 * length * 4 * 24), narrow = size(2 * length * 2 * 24);
      Numbers const q(wide, 1), k(narrow, 2), v(narrow, 3), dout(wide, 4);
      Numbers out(wide), sums(size(2 * 4 * length)), dq(wide), dk(narrow), dv(narrow);
      SimdKernels::attention(a, q.f.data(), k.f.data(), v.f.data(), out.f.data(), sums.f.data());
      Plain::attention(a, q.d.data(), k.d.data(), v.d.data(), out.d.data(), sums.d.data());
      SimdKernels::attention_pull(a, q.f.data(), k.f.data(), v.f.data(), out.f.data(),
                                  sums.f.data(), dout.f.data(), dq.f.data(), dk.f.data(),
                                  dv.f.data());
      Plain::attention_pull(a, q.d.data(), k.d.data(), v.d.data(), out.d.data(), sums.d.data(),
                            dout.d.data(), dq.d.data(), dk.d.data(), dv.d.data());
      CAPTURE(length);
      for (auto const* n : {&out, &sums, &dv}) CHECK(apart(*n) < 5e-6);
      if (length > 1)
        for (auto const* n : {&dq, &dk}) CHECK(apart(*n) < 1e-5);
    }
}

TEST_CASE("cross-entropy of a slice of the classes is that of plain loops, in place too") {
  for (bool const wide : {true, false})
    for (std::int64_t const columns : {77, 9001}) {
      avx512_wanted() = wide;
      CAPTURE(has_avx512_bf16());
      CAPTURE(columns);
      CrossEntropy const s{
          .rows = 19, .columns = columns, .valid = columns - 7, .first = 40, .ignore_index = -100};
      CrossEntropyOptions const options{0.1, 1e-3, columns + 123};
      Numbers x(size(s.rows * s.columns), 1, 4);
      Numbers const scale(size(s.rows), 2);
      std::vector<std::int32_t> labels(size(s.rows));
      for (std::size_t r = 0; r < labels.size(); ++r)
        labels[r] = r % 5 == 0 ? -100 : static_cast<std::int32_t>(r * 9);
      Numbers stats(size(4 * s.rows)), sums(size(s.rows));
      SimdKernels::cross_entropy_stats(s, x.f.data(), labels.data(), stats.f.data());
      Plain::cross_entropy_stats(s, x.d.data(), labels.data(), stats.d.data());
      CHECK(apart(stats) < 1e-6);
      for (std::size_t r = 0; r < labels.size(); ++r) {
        sums.d[r] = stats.d[4 * r] + std::log(stats.d[4 * r + 1]) + 0.1;
        sums.f[r] = static_cast<float>(sums.d[r]);
      }
      SimdKernels::cross_entropy_pull(s, x.f.data(), labels.data(), sums.f.data(), scale.f.data(),
                                      options, x.f.data());
      Plain::cross_entropy_pull(s, x.d.data(), labels.data(), sums.d.data(), scale.d.data(),
                                options, x.d.data());
      CHECK(apart(x) < 5e-6);
    }
  avx512_wanted() = true;
}

TEST_CASE("updates are those of plain loops") {
  constexpr std::int64_t n = 1003;
  Numbers const g(n, 1);
  Numbers w(n, 2), m(n, 3, 0.1), v(n);
  for (std::size_t i = 0; i < n; ++i)
    v.d[i] = static_cast<double>(v.f[i] = 0.01f + m.f[i] * m.f[i]);
  AdamWStep const step{.rate = 1e-2,
                       .beta1 = 0.9,
                       .beta2 = 0.95,
                       .epsilon = 1e-8,
                       .weight_decay = 0.1,
                       .correction1 = 0.3,
                       .correction2 = 0.2,
                       .gradient_scale = 0.7};
  SimdKernels::adamw(step, n, g.f.data(), w.f.data(), m.f.data(), v.f.data());
  Plain::adamw(step, n, g.d.data(), w.d.data(), m.d.data(), v.d.data());
  for (auto const* x : {&w, &m, &v}) CHECK(apart(*x) < 1e-6);
}

TEST_CASE("results do not depend on the number of threads") {
  constexpr std::int64_t rows = 300, columns = 640;
  Numbers const x(size(rows * columns), 1), w(size(columns), 2), dy(size(rows * columns), 3);
  auto const run = [&](int threads) {
    omp_set_num_threads(threads);
    std::vector<float> inverse(size(rows)), dx(x.f.size()), dw(w.f.size()), y(x.f.size());
    SimdKernels::rms_norm(rows, columns, 1e-5, x.f.data(), w.f.data(), y.data(), inverse.data());
    SimdKernels::rms_norm_pull(rows, columns, x.f.data(), w.f.data(), inverse.data(), dy.f.data(),
                               dx.data(), dw.data());
    y.insert(y.end(), dx.begin(), dx.end());
    y.insert(y.end(), dw.begin(), dw.end());
    y.push_back(static_cast<float>(
        SimdKernels::sum_of_squares(static_cast<std::int64_t>(dx.size()), dx.data())));
    return y;
  };
  CHECK(run(1) == run(2));
}

namespace {

/// z[m, n] of x[k, m] and y[k, n], as gradients of weights are made, at once and in pieces.
template <class Kernels, class T, class Z>
void check_pieces(std::int64_t m, std::int64_t n, std::int64_t k, std::int64_t wanted) {
  CAPTURE(m);
  CAPTURE(n);
  Product const p{{m, 1, 0, 1}, {n, 0, 1, m}, {k, m, n, 0}, {}, 0};
  auto const made = [](std::int64_t count, std::uint64_t stream) {
    std::vector<T> all(static_cast<std::size_t>(count));
    for (std::size_t i = 0; i < all.size(); ++i)
      all[i] = narrow<T>(Stream(stream, "numbers").uniform(i % 4093) - 0.5);
    return all;
  };
  auto const x = made(m * k, 1), y = made(n * k, 2);
  std::vector<Z> whole(static_cast<std::size_t>(m * n), Z(1)), cut = whole;
  for (bool const accumulate : {false, true}) {
    Kernels::multiply(p, x.data(), y.data(), whole.data(), accumulate);
    std::int64_t pieces = 0;
    in_pieces(p, x.data(), y.data(), cut.data(), [&](Product const& piece, auto... operands) {
      Kernels::multiply(piece, operands..., accumulate);
      ++pieces;
    });
    CHECK(pieces == wanted);
    if (!Kernels::has_alike_pieces(p)) continue;  // another processor, or too small for it
    CHECK(std::memcmp(whole.data(), cut.data(), whole.size() * sizeof(Z)) == 0);
  }
}

}  // namespace

TEST_CASE("a product in pieces of its rows or columns has the bits of the whole") {
  check_pieces<SimdProduct, float, float>(288, 768, 1024, 3);
  check_pieces<SimdProduct, float, float>(1700, 200, 600, 3);
  check_pieces<SimdProduct, float, float>(90, 3001, 530, 2);
  check_pieces<SimdProduct, float, float>(100, 100, 64, 1);
  check_pieces<Bf16Multiply, bf16, float>(288, 768, 1024, 3);
  check_pieces<Bf16Multiply, bf16, float>(1700, 200, 600, 3);
}
