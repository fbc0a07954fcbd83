// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <nxd/comm/threads.hpp>
#include <nxd/tensor/xtensor.hpp>

#include "small_llama.hpp"

using namespace nxd;
using namespace nxd::test;

namespace {

template <class Backend, class Region = Duplicated>
Outcome on_threads(test::Job const& job, WeightPrecision precision = {}) {
  std::vector<Outcome> ranks(static_cast<std::size_t>(job.dp * job.tp));
  Threads::run(job.dp * job.tp, [&](Threads::Rank rank) {
    ranks[static_cast<std::size_t>(rank.rank())] = train_small<Region, Zero1<AdamW>, Backend>(
        rank, job, [](auto const&...) { return true; }, precision);
  });
  return merged(ranks);
}

double progress(Outcome const& run) { return run.losses.front() - run.losses.back(); }

/// The share of parameters in which two runs differ.
double differing(Outcome const& a, Outcome const& b) {
  double all = 0, other = 0;
  for (auto const& [name, elements] : a.parameters)
    for (auto const& [index, value] : elements) {
      ++all;
      other += value != b.parameters.at(name).at(index);
    }
  return other / all;
}

constexpr WeightPrecision alone{.master = false};
constexpr WeightPrecision by_chance{.master = false, .rounding = Rounding::stochastic, .seed = 1};

}  // namespace

TEST_CASE("with masters bf16 follows the losses of floats within a percent, on any layout") {
  auto const floats = on_threads<Xt>({});
  auto const check = [&](Outcome const& shorts) {
    auto const d = distance(shorts, floats);
    CHECK(d.loss < 0.01);
    CHECK(d.loss > 1e-6);  // they are other numbers
    CHECK(d.parameters < 0.03);
  };
  check(on_threads<XtBf16>({}));
  check(on_threads<XtBf16>({.dp = 2, .accumulate = 2}));
  check(on_threads<XtBf16>({.tp = 2}));
  check(on_threads<XtBf16, SequenceParallel<Seq>>({.dp = 2, .tp = 2, .accumulate = 2}));
}

TEST_CASE("with products of bf16 alone weights stay nearer to those of floats, on any layout") {
  auto const floats = on_threads<Xt>({});
  auto const all = distance(on_threads<XtBf16>({}), floats);
  auto const check = [&](Outcome const& products) {
    auto const d = distance(products, floats);
    CAPTURE(d.parameters);
    CAPTURE(all.parameters);
    CHECK(d.parameters < 0.95 * all.parameters);
    CHECK(d.loss < 0.005);
    CHECK(d.loss > 1e-6);
  };
  check(on_threads<XtAutocast>({}));
  check(on_threads<XtAutocast>({.dp = 2, .accumulate = 2}));
  check(on_threads<XtAutocast, SequenceParallel<Seq>>({.dp = 2, .tp = 2, .accumulate = 2}));
}

TEST_CASE("the same layout in bf16 run twice gives the same bits") {
  test::Job const job{.dp = 2, .tp = 2, .accumulate = 2, .steps = 8};
  auto const twice = [&](WeightPrecision precision) {
    return on_threads<XtBf16, SequenceParallel<Seq>>(job, precision) ==
           on_threads<XtBf16, SequenceParallel<Seq>>(job, precision);
  };
  CHECK(twice({}));
  CHECK(twice(by_chance));
}

TEST_CASE("small updates are lost where weights are rounded to nearest, not where by chance") {
  test::Job const job{.steps = 30, .rate = 1e-4};
  auto const floats = progress(on_threads<Xt>(job));
  auto const nearest = progress(on_threads<XtBf16>(job, alone));
  auto const chance = progress(on_threads<XtBf16>(job, by_chance));
  CAPTURE(floats);
  CAPTURE(nearest);
  CAPTURE(chance);
  CHECK(nearest < 0.8 * floats);
  CHECK(std::abs(chance - floats) < 0.1 * floats);
}

TEST_CASE("what rounds by chance is a matter of the seed and of the weight, not of the layout") {
  test::Job const job{.steps = 1};
  auto const one = on_threads<XtBf16>(job, by_chance);
  auto other_seed = by_chance;
  other_seed.seed = 2;
  CHECK(differing(one, on_threads<XtBf16>(job, other_seed)) > 0.2);
  for (auto const& layout : {test::Job{.dp = 2, .steps = 1},
                             {.tp = 2, .steps = 1},
                             {.dp = 2, .tp = 2, .accumulate = 2, .steps = 1}})
    CHECK(differing(one, on_threads<XtBf16>(layout, by_chance)) < 0.02);
}
