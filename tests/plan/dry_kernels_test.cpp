// SPDX-License-Identifier: Apache-2.0
#include <functional>
#include <set>

#include <doctest/doctest.h>

#include <nxd/core/random.hpp>
#include <nxd/tensor/dry.hpp>
#include <nxd/tensor/kernels/simd.hpp>

using namespace nxd;

namespace {

constexpr float* out = nullptr;
constexpr float const* in = nullptr;
constexpr std::int32_t const* ids = nullptr;
constexpr std::int64_t n = 12;

constexpr Attention look{2, 70, 130, 4, 2, 2, 0, 32, 0.1, true};
constexpr Product product{
    {3, 5, 0, 4}, {4, 0, 5, 1}, {5, 1, 1, 0}, {Loop{2, 0, 0, 0}, Loop{7, 0, 0, 0}}, 2};

/// Every kernel, called as operations call it.
template <class K>
concept AllKernels = requires(bool accumulate) {
  K::multiply(product, in, in, out, accumulate);
  K::attention(look, in, in, in, out, out);
  K::attention_pull(look, in, in, in, in, in, in, out, out, out);
  K::add(n, in, in, out);
  K::axpy(n, 1.f, in, out);
  K::scale(n, 1.f, in, out);
  K::transpose_blocks(n, n, n, in, out);
  { K::sum_of_squares(n, in) } -> std::same_as<double>;
  { K::max_abs(n, in) } -> std::same_as<double>;
  K::rms_norm(n, n, 1e-5, in, in, out, out);
  K::rms_norm_pull(n, n, in, in, in, in, out, out);
  K::softmax(n, n, 1.0, in, out);
  K::softmax_pull(n, n, 1.0, in, in, out);
  K::swiglu(n, n, in, out);
  K::swiglu_pull(n, n, in, in, out);
  K::rotate(Rotary{}, in, in, in, out, 1);
  K::gather_rows(Rows{}, ids, in, out);
  K::scatter_add_rows(Rows{}, ids, in, out);
  K::cross_entropy_stats(CrossEntropy{}, in, ids, out);
  K::cross_entropy_pull(CrossEntropy{}, in, ids, in, in, CrossEntropyOptions{}, out);
  K::adamw(AdamWStep{}, n, in, out, out, out);
  K::sgd(SgdStep{}, n, in, out, out);
};
static_assert(AllKernels<SimdKernels> && AllKernels<PlainKernels<float>> && AllKernels<DryKernels>);

/// What a call has taken.
double seconds(std::function<void()> const& call) {
  auto& work = DryWork::mine();
  auto const before = work.seconds;
  call();
  return work.seconds - before;
}

/// A price for each kernel, no two of which sum up alike.
KernelPrices odd_prices() {
  KernelPrices prices;
  prices.call = 1;
  for (std::size_t i = 0; i < kernel_count; ++i) prices.element[i] = 100 + static_cast<double>(i);
  prices.product = {1e-3, 1e-2, 1e-1, 10};
  prices.attention = {2, 3};
  prices.attention_pull = {5, 7};
  return prices;
}

/// The pairs of a query and a key that the tiles of 64 queries look at: where one query of a tile
/// sees a key, all of them are multiplied by it.
double pairs_looked_at(Attention const& s) {
  double pairs = 0;
  for (std::int64_t query = 0; query < s.queries; ++query)
    for (std::int64_t key = 0; key < s.keys; ++key) {
      bool seen = false;
      auto const tile = query / 64 * 64;
      for (auto other = tile; other < std::min(tile + 64, s.queries); ++other)
        seen = seen || !s.causal || key <= other + s.keys - s.queries;
      pairs += seen ? 1 : 0;
    }
  return pairs * static_cast<double>(s.batch * s.heads);
}

}  // namespace

TEST_CASE("Every dry kernel takes the price of its elements") {
  auto const prices = odd_prices();
  DryWork::mine() = {prices, 0};
  using D = DryKernels;
  struct Priced {
    Kernel kernel;
    std::int64_t elements;
    std::function<void()> call;
  };
  std::vector<Run> const runs{{1, 0, 0, 5}, {1, 5, 100, 7}};
  Rotary const turn{2, 3, 4, 10};
  Rows const rows{5, 0, 100, 7};
  CrossEntropy const loss{6, 11, 10, 0, -100};
  std::vector<Priced> const all{
      {Kernel::add, 12, [] { D::add(n, in, in, out); }},
      {Kernel::cast, 12, [] { D::cast(n, in, out); }},
      {Kernel::cast_stochastic, 12,
       [&] {
         D::cast_stochastic(std::span<Run const>(runs), Noise{{1, "x"}}, in, out);
       }},
      {Kernel::axpy, 12, [] { D::axpy(n, 1.f, in, out); }},
      {Kernel::scale, 12, [] { D::scale(n, 1.f, in, out); }},
      {Kernel::transpose_blocks, 30, [] { D::transpose_blocks(2, 3, 5, in, out); }},
      {Kernel::sum_of_squares, 12, [] { CHECK(D::sum_of_squares(n, in) == 0); }},
      {Kernel::max_abs, 12, [] { CHECK(D::max_abs(n, in) == 0); }},
      {Kernel::rms_norm, 6, [] { D::rms_norm(2, 3, 1e-5, in, in, out, out); }},
      {Kernel::rms_norm_pull, 6, [] { D::rms_norm_pull(2, 3, in, in, in, in, out, out); }},
      {Kernel::softmax, 6, [] { D::softmax(2, 3, 1.0, in, out); }},
      {Kernel::softmax_pull, 6, [] { D::softmax_pull(2, 3, 1.0, in, in, out); }},
      {Kernel::swiglu, 6, [] { D::swiglu(2, 3, in, out); }},
      {Kernel::swiglu_pull, 6, [] { D::swiglu_pull(2, 3, in, in, out); }},
      {Kernel::rotate, 240, [&] { D::rotate(turn, in, in, in, out, -1); }},
      {Kernel::gather_rows, 35, [&] { D::gather_rows(rows, ids, in, out); }},
      {Kernel::scatter_add_rows, 35, [&] { D::scatter_add_rows(rows, ids, in, out); }},
      {Kernel::cross_entropy_stats, 66, [&] { D::cross_entropy_stats(loss, in, ids, out); }},
      {Kernel::cross_entropy_pull, 66,
       [&] { D::cross_entropy_pull(loss, in, ids, in, in, CrossEntropyOptions{}, out); }},
      {Kernel::adamw, 12, [] { D::adamw(AdamWStep{}, n, in, out, out, out); }},
      {Kernel::sgd, 12, [] { D::sgd(SgdStep{}, n, in, out, out); }},
  };
  std::set<Kernel> called;
  for (auto const& [kernel, elements, call] : all) {
    auto const i = static_cast<std::size_t>(kernel);
    CAPTURE(std::string(names_of(Kernel{})[i]));
    CHECK(seconds(call) ==
          doctest::Approx(1 + (100 + static_cast<double>(i)) * static_cast<double>(elements)));
    called.insert(kernel);
  }
  CHECK(called.size() == kernel_count);
  CHECK(seconds([] { D::multiply(product, in, in, out, false); }) ==
        doctest::Approx(prices.of(product)));
  CHECK(seconds([] { D::attention(look, in, in, in, out, out); }) ==
        doctest::Approx(prices.of(look, false)));
  CHECK(seconds([] { D::attention_pull(look, in, in, in, in, in, in, out, out, out); }) ==
        doctest::Approx(prices.of(look, true)));
}

TEST_CASE("A product takes its price in each of its loops") {
  auto const prices = odd_prices();
  double const m = 3, columns = 4, k = 5;
  auto const once = 1e-3 * m * columns * k + 1e-2 * m * k + 1e-1 * columns * k + 10 * m * columns;
  auto p = product;
  CHECK(prices.of(p) == doctest::Approx(1 + 2 * 7 * once));
  p.batches = 1;  // the second is not there
  CHECK(prices.of(p) == doctest::Approx(1 + 2 * once));
  p.batches = 0;
  CHECK(prices.of(p) == doctest::Approx(1 + once));
}

TEST_CASE("A product of two lines is a sum over their elements") {
  auto const prices = odd_prices();
  auto p = product;
  p.rows.extent = p.columns.extent = 1;
  CHECK(prices.of(p) ==
        doctest::Approx(1 + 14 * 5 * prices.element[static_cast<std::size_t>(Kernel::axpy)]));
  p.columns.extent = 2;  // no longer two lines
  CHECK(prices.of(p) == doctest::Approx(1 + 14 * (1e-3 * 10 + 1e-2 * 5 + 1e-1 * 10 + 10 * 2)));
  std::swap(p.rows.extent, p.columns.extent);
  CHECK(prices.of(p) == doctest::Approx(1 + 14 * (1e-3 * 10 + 1e-2 * 10 + 1e-1 * 5 + 10 * 2)));
}

TEST_CASE("Attention looks at the scores of its tiles") {
  for (bool const causal : {false, true})
    for (std::int64_t const queries : {1, 2, 63, 64, 65, 128, 150})
      for (std::int64_t const more : {0, 1, 64, 100}) {
        Attention s{2, queries, queries + more, 3, 3, 1, 0, 16, 1, causal};
        CAPTURE(causal);
        CAPTURE(queries);
        CAPTURE(more);
        CHECK(scores_of(s) == pairs_looked_at(s));
      }
  constexpr Attention whole{1, 8192, 8192, 1, 1, 1, 0, 128, 1, true};
  static_assert(scores_of(whole) == 64. * 64 * 128 * 129 / 2);
}

TEST_CASE("A score has a price, and one for each of its dims; its gradient has others") {
  auto const prices = odd_prices();
  auto const scores = scores_of(look);
  CHECK(prices.of(look, false) == doctest::Approx(1 + scores * (2 + 3 * 32)));
  CHECK(prices.of(look, true) == doctest::Approx(1 + scores * (5 + 7 * 32)));
}
