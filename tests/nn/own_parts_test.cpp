// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <nxd/comm/single.hpp>
#include <nxd/tensor/reference.hpp>

#include "../models/small_llama.hpp"
#include "own_backend.hpp"
#include "own_communicator.hpp"

using namespace nxd;
using namespace nxd::test;

TEST_CASE("a backend and a communicator of one's own train a Llama as one rank does") {
  using Strategy = Zero1<AdamW, DP>;
  using Region = SequenceParallel<Seq>;
  auto const whole = train_small<Region, Strategy, Reference<float>>(Single{}, {.steps = 5});

  Job const job{.dp = 2, .tp = 2, .accumulate = 2, .steps = 5};
  std::vector<Outcome> parts(4);
  own::run(4, [&](own::Rank rank) {
    parts[static_cast<std::size_t>(rank.rank())] =
        train_small<Region, Strategy, own::Backend>(rank, job);
  });

  auto const apart = distance(merged(parts), whole);
  CHECK(apart.loss < 1e-5);
  CHECK(apart.norm < 1e-5);
  CHECK(apart.parameters < 1e-5);
  CHECK(merged(parts).parameters.size() == whole.parameters.size());
  CHECK(whole.losses.back() < whole.losses.front());
}
