// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <nxd/comm/threads.hpp>
#include <nxd/nn/fused_attention.hpp>
#include <nxd/tensor/xtensor.hpp>

#include "small_llama.hpp"

using namespace nxd;
using namespace nxd::test;

namespace {

template <class Strategy> Outcome fused(test::Job const& job) {
  std::vector<Outcome> ranks(static_cast<std::size_t>(job.dp * job.tp));
  Threads::run(job.dp * job.tp, [&](Threads::Rank rank) {
    ranks[static_cast<std::size_t>(rank.rank())] =
        train_small<SequenceParallel<Seq>, Strategy, Xt, FusedGroupedQueryAttention>(rank, job);
  });
  return merged(ranks);
}

}  // namespace

TEST_CASE("one product for queries, keys and values trains as three do, on any layout") {
  auto const apart = train_small<Duplicated, Zero1<AdamW>, Xt>(Single{}, {});
  for (auto const& job : {test::Job{}, {.tp = 2}, {.dp = 2, .accumulate = 2}, {.dp = 2, .tp = 2}}) {
    auto const d = distance(fused<Zero1<AdamW>>(job), apart);
    CHECK(d.loss < 2e-6);
    CHECK(d.norm < 2e-5);
    CHECK(d.parameters < 1e-5);
  }
}

TEST_CASE("fused weights need a key head on every rank") {
  CHECK_THROWS_WITH_AS(
      fused<Zero1<AdamW>>({.tp = 4}),
      "kv_heads: a sharded dimension must split evenly over its axis (2 against 4)", PlanError);
}
