// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <nxd/comm/threads.hpp>
#include <nxd/tensor/xtensor.hpp>

#include "small_llama.hpp"

using namespace nxd;
using namespace nxd::test;

namespace {

template <class Region, class Strategy> Outcome on_threads(test::Job const& job) {
  std::vector<Outcome> ranks(static_cast<std::size_t>(job.dp * job.tp));
  Threads::run(job.dp * job.tp, [&](Threads::Rank rank) {
    ranks[static_cast<std::size_t>(rank.rank())] = train_small<Region, Strategy, Xt>(rank, job);
  });
  return merged(ranks);
}

Outcome const& one_rank() {
  static auto const outcome = train_small<Duplicated, Zero1<AdamW>, Xt>(Single{}, {});
  return outcome;
}

template <class Region, class Strategy> void compare_layouts() {
  struct Layout {
    std::int64_t dp, tp;
  };
  for (auto const [dp, tp] : {Layout{1, 1}, {1, 2}, {1, 4}, {2, 1}, {4, 1}, {2, 2}})
    for (std::int64_t const accumulate : {1, 2, 4}) {
      CAPTURE(dp);
      CAPTURE(tp);
      CAPTURE(accumulate);
      auto const d = distance(
          on_threads<Region, Strategy>({.dp = dp, .tp = tp, .accumulate = accumulate}), one_rank());
      CHECK(d.loss < 2e-6);
      CHECK(d.norm < 2e-5);
      CHECK(d.parameters < 1e-5);
    }
}

}  // namespace

TEST_CASE("the small model learns") {
  auto const& losses = one_rank().losses;
  CHECK(losses.back() < 0.75 * losses.front());
}

TEST_CASE("every layout trains as one rank: activations duplicated, ZeRO-1") {
  compare_layouts<Duplicated, Zero1<AdamW>>();
}
TEST_CASE("every layout trains as one rank: activations duplicated, state replicated") {
  compare_layouts<Duplicated, Replicated<AdamW>>();
}
TEST_CASE("every layout trains as one rank: sequence parallel, ZeRO-1") {
  compare_layouts<SequenceParallel<Seq>, Zero1<AdamW>>();
}
TEST_CASE("every layout trains as one rank: sequence parallel, state replicated") {
  compare_layouts<SequenceParallel<Seq>, Replicated<AdamW>>();
}

TEST_CASE("the same layout run twice gives the same bits") {
  test::Job const job{.dp = 2, .tp = 2, .accumulate = 2};
  CHECK(on_threads<SequenceParallel<Seq>, Zero1<AdamW>>(job) ==
        on_threads<SequenceParallel<Seq>, Zero1<AdamW>>(job));
}
