// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <vector>

#include <doctest/doctest.h>

#include <nxd/tensor/kernels/bf16.hpp>

#include "unlike_products.hpp"

using namespace nxd;
using Plain = PlainKernels<double>;

namespace {

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

/// The same numbers as bf16, or as floats, and in double.
template <class T> struct Numbers {
  std::vector<T> x;
  std::vector<double> d;

  explicit Numbers(std::int64_t n) : x(size(n)), d(size(n)) {}
  Numbers(std::int64_t n, std::uint64_t stream, double factor = 1) : Numbers(n) {
    for (std::size_t i = 0; i < x.size(); ++i) {
      x[i] = narrow<T>(factor * Stream(stream, "numbers").normal(i));
      d[i] = static_cast<double>(widen(x[i]));
    }
  }
};
using Shorts = Numbers<bf16>;
using Floats = Numbers<float>;

/// The largest difference, against the largest number: bf16 rounds by up to 2^-8 of a number.
template <class T> double apart(Numbers<T> const& n) {
  double most = 1e-30, furthest = 0;
  for (std::size_t i = 0; i < n.x.size(); ++i) {
    most = std::max(most, std::abs(n.d[i]));
    furthest = std::max(furthest, std::abs(static_cast<double>(widen(n.x[i])) - n.d[i]));
  }
  return furthest / most;
}
constexpr double rounding = 0x1p-8 * 1.01, sums = 1e-5;

constexpr std::int64_t rows = 7, columns = 333, n = rows * columns;

/// Runs a test with all that this processor has, without AMX, and without wide vectors too.
void on_every_machine(auto const& test) {
  for (auto const& [tiles, wide] : {std::pair{true, true}, {false, true}, {false, false}}) {
    amx_wanted() = tiles;
    avx512_wanted() = wide;
    CAPTURE(has_amx());
    CAPTURE(has_avx512_bf16());
    test();
  }
  amx_wanted() = avx512_wanted() = true;
}

void check_attention(Attention const& s) {
  CAPTURE(s.queries);
  auto const queries = s.batch * s.queries * s.heads * s.head_dim,
             keys = s.batch * s.keys * s.kv_heads * s.head_dim;
  Shorts const q(queries, 1), k(keys, 2), v(keys, 3), slope(queries, 4);
  Shorts out(queries), dq(queries), dk(keys), dv(keys);
  Floats log_sums(s.batch * s.heads * s.queries);
  Bf16Kernels::attention(s, q.x.data(), k.x.data(), v.x.data(), out.x.data(), log_sums.x.data());
  Plain::attention(s, q.d.data(), k.d.data(), v.d.data(), out.d.data(), log_sums.d.data());
  CHECK(apart(out) < 2 * rounding);
  CHECK(apart(log_sums) < 1e-5);
  Bf16Kernels::attention_pull(s, q.x.data(), k.x.data(), v.x.data(), out.x.data(),
                              log_sums.x.data(), slope.x.data(), dq.x.data(), dk.x.data(),
                              dv.x.data());
  Plain::attention_pull(s, q.d.data(), k.d.data(), v.d.data(), out.d.data(), log_sums.d.data(),
                        slope.d.data(), dq.d.data(), dk.d.data(), dv.d.data());
  CHECK(apart(dq) < 8 * rounding);
  CHECK(apart(dk) < 8 * rounding);
  CHECK(apart(dv) < 8 * rounding);
}

}  // namespace

TEST_CASE("products of bf16 are those of plain loops, rounded once, however their operands lie") {
  on_every_machine([] {
    constexpr std::int64_t m = 37, w = 29, k = 53, b = 3;
    Shorts const x(b * m * k, 1), y(b * w * k, 2);
    auto const products = unlike_products(b, m, w, k);
    for (auto const& p : products)
      for (bool const accumulate : {false, true}) {
        CAPTURE(&p - products.data());
        CAPTURE(accumulate);
        Shorts z(b * m * k, 3);
        Floats f(b * m * k, 3);
        Bf16Kernels::multiply(p, x.x.data(), y.x.data(), z.x.data(), accumulate);
        Bf16Kernels::multiply(p, x.x.data(), y.x.data(), f.x.data(), accumulate);
        Plain::multiply(p, x.d.data(), y.d.data(), z.d.data(), accumulate);
        Plain::multiply(p, x.d.data(), y.d.data(), f.d.data(), accumulate);
        CHECK(apart(z) < rounding);
        CHECK(apart(f) < sums);
      }
  });
}

TEST_CASE("lines of bf16 are computed in floats and rounded once") {
  on_every_machine([] {
    Shorts const x(n, 1), dy(n, 2), weight(columns, 3);
    Shorts y(n), dx(n);
    Floats inverse(rows), dweight(columns);
    Bf16Kernels::rms_norm(rows, columns, 1e-5, x.x.data(), weight.x.data(), y.x.data(),
                          inverse.x.data());
    Plain::rms_norm(rows, columns, 1e-5, x.d.data(), weight.d.data(), y.d.data(), inverse.d.data());
    CHECK(apart(y) < rounding);
    CHECK(apart(inverse) < sums);
    Bf16Kernels::rms_norm_pull(rows, columns, x.x.data(), weight.x.data(), inverse.x.data(),
                               dy.x.data(), dx.x.data(), dweight.x.data());
    Plain::rms_norm_pull(rows, columns, x.d.data(), weight.d.data(), inverse.d.data(), dy.d.data(),
                         dx.d.data(), dweight.d.data());
    CHECK(apart(dx) < rounding);
    CHECK(apart(dweight) < sums);

    Shorts const pair(2 * n, 4);
    Shorts dpair(2 * n);
    Bf16Kernels::swiglu(rows, columns, pair.x.data(), y.x.data());
    Plain::swiglu(rows, columns, pair.d.data(), y.d.data());
    CHECK(apart(y) < rounding);
    Bf16Kernels::swiglu_pull(rows, columns, pair.x.data(), dy.x.data(), dpair.x.data());
    Plain::swiglu_pull(rows, columns, pair.d.data(), dy.d.data(), dpair.d.data());
    CHECK(apart(dpair) < rounding);

    Bf16Kernels::softmax(rows, columns, 0.3, x.x.data(), y.x.data());
    Plain::softmax(rows, columns, 0.3, x.d.data(), y.d.data());
    CHECK(apart(y) < rounding);

    Shorts const turned(2 * 5 * 3 * 8, 5);
    Shorts out(2 * 5 * 3 * 8);
    Floats const cosines(5 * 4, 6), sines(5 * 4, 7);
    Bf16Kernels::rotate({2, 5, 3, 8}, turned.x.data(), cosines.x.data(), sines.x.data(),
                        out.x.data(), -1);
    Plain::rotate({2, 5, 3, 8}, turned.d.data(), cosines.d.data(), sines.d.data(), out.d.data(),
                  -1);
    CHECK(apart(out) < rounding);
  });
}

TEST_CASE("elements of bf16 are added, scaled and gathered in floats") {
  on_every_machine([] {
    Shorts const x(n, 1);
    Shorts z(n, 2);
    Floats f(n, 3);
    Bf16Kernels::axpy(n, 0.7f, x.x.data(), z.x.data());
    Plain::axpy(n, static_cast<double>(0.7f), x.d.data(), z.d.data());
    CHECK(apart(z) < rounding);
    Bf16Kernels::axpy(n, 0.7f, x.x.data(), f.x.data());
    Plain::axpy(n, static_cast<double>(0.7f), x.d.data(), f.d.data());
    CHECK(apart(f) < sums);
    Shorts const y(n, 4);
    Bf16Kernels::add(n, x.x.data(), y.x.data(), z.x.data());
    Plain::add(n, x.d.data(), y.d.data(), z.d.data());
    CHECK(apart(z) < rounding);
    Bf16Kernels::scale(n, 3.f, x.x.data(), z.x.data());
    Plain::scale(n, 3, x.d.data(), z.d.data());
    CHECK(apart(z) < rounding);

    std::vector<std::int32_t> const ids{3, 0, 9, 3, 5, 1, 2};
    Rows const look{rows, 1, 4, columns};  // rows 1 to 4 are here
    Shorts const table(4 * columns, 5);
    Bf16Kernels::gather_rows(look, ids.data(), table.x.data(), z.x.data());
    Plain::gather_rows(look, ids.data(), table.d.data(), z.d.data());
    CHECK(apart(z) == 0);
    Floats sum(4 * columns, 6);
    Bf16Kernels::scatter_add_rows(look, ids.data(), x.x.data(), sum.x.data());
    Plain::scatter_add_rows(look, ids.data(), x.d.data(), sum.d.data());
    CHECK(apart(sum) < sums);
  });
}

TEST_CASE("the loss of logits of bf16 is that of floats") {
  on_every_machine([] {
    Shorts logits(n, 1, 4);
    std::vector<std::int32_t> const labels{0, 5, -100, 332, 100, 331, 200};
    CrossEntropy const s{rows, columns, columns - 2, 0, -100};
    CrossEntropyOptions const options{0.1, 1e-3, columns - 2};
    Floats stats(4 * rows), log_sums(rows), scale(rows, 2);
    Bf16Kernels::cross_entropy_stats(s, logits.x.data(), labels.data(), stats.x.data());
    Plain::cross_entropy_stats(s, logits.d.data(), labels.data(), stats.d.data());
    CHECK(apart(stats) < sums);
    for (std::size_t r = 0; r < size(rows); ++r) {
      log_sums.d[r] = stats.d[4 * r] + std::log(stats.d[4 * r + 1]);
      log_sums.x[r] = static_cast<float>(log_sums.d[r]);
    }
    Shorts slopes(n);
    Bf16Kernels::cross_entropy_pull(s, logits.x.data(), labels.data(), log_sums.x.data(),
                                    scale.x.data(), options, slopes.x.data());
    Plain::cross_entropy_pull(s, logits.d.data(), labels.data(), log_sums.d.data(), scale.d.data(),
                              options, slopes.d.data());
    CHECK(apart(slopes) < rounding);
  });
}

TEST_CASE("attention over bf16 has its scores and sums in floats") {
  // batch, queries, keys, heads, key heads, group, first head, head dimension, scale, causal
  for (auto const& s : {Attention{2, 70, 70, 4, 2, 2, 0, 16, 0.25, true},
                        {1, 300, 300, 2, 2, 1, 0, 48, 0.5, true},
                        {1, 40, 290, 3, 2, 2, 1, 33, 0.2, true},
                        {1, 33, 65, 2, 1, 2, 0, 64, 0.125, false},
                        {1, 1, 1, 1, 1, 1, 0, 2, 1, true}})
    on_every_machine([&] { check_attention(s); });
}

TEST_CASE("rounding by chance is exact on average, and a matter of the element alone") {
  constexpr std::int64_t count = 200000;
  Noise const noise{{7, "rounding", 3}};
  auto const value = 1 + 0x1p-7f * 0.3f;  // three tenths of the way from one bf16 to the next
  std::vector<float> const x(size(count), value);
  std::vector<bf16> whole(size(count)), parts(size(count));
  std::vector<Run> const one{{5, 0, 1000, count}};
  Bf16Kernels::cast_stochastic(std::span<Run const>(one), noise, x.data(), whole.data());
  double mean = 0;
  for (auto const y : whole) mean += static_cast<double>(to_float(y)) / count;
  auto const deviation = 0x1p-7 * std::sqrt(0.3 * 0.7 / count);
  CHECK(std::abs(mean - static_cast<double>(value)) < 4 * deviation);

  on_every_machine([&] {
    Floats const mixed(1000, 8);
    for (std::uint64_t const first : {0, 3, 8, 1029}) {
      std::vector<Run> const run{{5, 0, static_cast<std::int64_t>(first), 1000}};
      Bf16Kernels::cast_stochastic(std::span<Run const>(run), noise, mixed.x.data(), parts.data());
      for (std::uint64_t i = 0; i < 1000; ++i)
        CHECK(parts[i] == to_bf16_stochastic(mixed.x[i], noise.of(5)(first + i)));
    }
  });
  std::vector<Run> const several{
      {5, 1, 1001, 12345}, {5, 12346, 13346, count - 12346}, {5, 0, 1000, 1}};
  Bf16Kernels::cast_stochastic(std::span<Run const>(several), noise, x.data(), parts.data());
  CHECK(parts == whole);
  auto other = one;
  other[0].tensor = 6;
  Bf16Kernels::cast_stochastic(std::span<Run const>(other), noise, x.data(), parts.data());
  CHECK(parts != whole);
  for (std::uint64_t i = 0; i < 100; ++i)
    noise.for_each(i, 20, [&](std::int64_t k, std::uint16_t bits) {
      CHECK(bits == noise(i + static_cast<std::uint64_t>(k)));
    });
}
