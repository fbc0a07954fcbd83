// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <functional>
#include <iterator>
#include <numeric>

#include <doctest/doctest.h>

#include <nxd/optim/chunk_update.hpp>
#include <nxd/tensor/xtensor.hpp>

using namespace nxd;

namespace {

/// Makes the weight and all that is remembered of it the same number: its gradient.
struct Copies {
  static constexpr std::array<std::string_view, 2> moments{"first", "second"};

  template <class Kernels, class T>
  void operator()(Kernels, UpdateStep const&, std::int64_t n, T const* gradient, T* weight,
                  std::array<T*, 2> const& moment) const {
    for (auto* const to : {weight, moment[0], moment[1]}) std::copy_n(gradient, n, to);
  }
};

/// All of a world that an update asks for.
struct Shorts {
  using backend = XtBf16;
  using element = bf16;
};

using State = ChunkState<Shorts, 2>;
constexpr std::int64_t count = 5000;
constexpr float between = 1 + 0x1p-8f;  // as far from 1 as from the next number of bf16

/// What a step makes of weights that are updated to what cannot be told in bf16: the weights, then
/// the moments.
std::array<std::vector<float>, 3> after_step(WeightPrecision precision, std::int64_t number) {
  State state({0, count, count}, true, precision, 2);
  state.gradient = XtBf16::allocate<float>(count);
  std::fill_n(XtBf16::data(state.gradient), count, between);
  std::vector<bf16> weights(count);
  ChunkUpdate<Shorts, Copies>({}, precision)(state, {.number = number}, weights.data(),
                                             {{hash("w"), 0, 0, count}}, {});
  auto const floats = [](bf16 const* from) {
    std::vector<float> all;
    std::transform(from, from + count, std::back_inserter(all), [](bf16 x) { return to_float(x); });
    return all;
  };
  return {floats(weights.data()), floats(XtBf16::data(state.short_moment[0])),
          floats(XtBf16::data(state.short_moment[1]))};
}

/// In what share of their places two lists differ.
double apart(std::vector<float> const& a, std::vector<float> const& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0., std::plus{}, std::not_equal_to{}) /
         count;
}

}  // namespace

TEST_CASE("by chance a number half way goes up as often as down") {
  for (auto const& numbers :
       after_step({.master = false, .rounding = Rounding::stochastic, .seed = 1}, 1)) {
    auto const mean = std::accumulate(numbers.begin(), numbers.end(), 0.) / count;
    CHECK(mean == doctest::Approx(between).epsilon(0.0002));
  }
}

TEST_CASE("a weight and its moments are rounded by draws of their own, in each step by others") {
  WeightPrecision const by_chance{.master = false, .rounding = Rounding::stochastic, .seed = 1};
  std::vector<std::vector<float>> all;
  for (std::int64_t step = 1; step <= 3; ++step)
    for (auto& numbers : after_step(by_chance, step)) all.push_back(std::move(numbers));
  for (std::size_t i = 0; i < all.size(); ++i)
    for (std::size_t j = 0; j < i; ++j)
      CHECK(apart(all[i], all[j]) == doctest::Approx(0.5).epsilon(0.1));
  CHECK(after_step(by_chance, 1)[0] == all[0]);
}

TEST_CASE("to nearest they are all the same, ties to even") {
  for (auto const& numbers : after_step({.master = false}, 1))
    CHECK(std::ranges::all_of(numbers, [](float x) { return x == 1; }));
}
