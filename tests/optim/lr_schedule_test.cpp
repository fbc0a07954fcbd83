// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <nxd/optim/lr_schedule.hpp>

using nxd::learning_rate;
using nxd::LrSchedule;
using nxd::LrShape;

static_assert(nxd::parse_lr_shape("CosineAnnealing") == LrShape::cosine_annealing);
static_assert(nxd::parse_lr_shape("constant") == LrShape::constant);
static_assert(!nxd::parse_lr_shape("cosineannealing"));
static_assert(nxd::text(LrShape::linear_annealing_with_warm_up) == "LinearAnnealingWithWarmUp");

namespace {

LrSchedule schedule(LrShape shape) {
  return {.shape = shape, .lr = 1.0, .warmup_steps = 4, .max_steps = 24, .min_lr = 0.1};
}

doctest::Approx near(double value) { return doctest::Approx(value).epsilon(1e-14); }

}  // namespace

TEST_CASE("A constant rate never changes") {
  auto const s = schedule(LrShape::constant);
  for (int step : {0, 4, 24, 1000}) CHECK(learning_rate(s, step) == 1.0);
}

TEST_CASE("Warm-up is (step + 1) / (warmup + 1) up to and with the last warm-up step") {
  for (auto const shape : {LrShape::warmup_policy, LrShape::cosine_annealing,
                           LrShape::warmup_annealing, LrShape::square_annealing}) {
    auto const s = schedule(shape);
    CHECK(learning_rate(s, 0) == near(0.2));
    CHECK(learning_rate(s, 3) == near(0.8));
    CHECK(learning_rate(s, 4) == 1.0);
    CHECK(learning_rate(s, 25) == 0.1);
  }
}

TEST_CASE("Cosine annealing falls over the steps after warm-up") {
  auto const s = schedule(LrShape::cosine_annealing);
  CHECK(learning_rate(s, 9) == near(0.1 + 0.9 * 0.5 * (1 + std::sqrt(0.5))));
  CHECK(learning_rate(s, 14) == near(0.55));
  CHECK(learning_rate(s, 24) == near(0.1));
}

TEST_CASE("Constant steps shorten the cosine and stay at the floor") {
  auto s = schedule(LrShape::cosine_annealing);
  s.constant_steps = 10;
  CHECK(learning_rate(s, 9) == near(0.55));
  CHECK(learning_rate(s, 14) == near(0.1));
  CHECK(learning_rate(s, 20) == near(0.1));
}

TEST_CASE("Without warm-up the first step has the whole rate") {
  auto s = schedule(LrShape::cosine_annealing);
  s.warmup_steps = 0;
  CHECK(learning_rate(s, 0) == 1.0);
  CHECK(learning_rate(s, 12) == near(0.55));
}

TEST_CASE("The linear schedule starts at zero, ends at zero, and knows no floor") {
  auto const s = schedule(LrShape::linear_annealing_with_warm_up);
  CHECK(learning_rate(s, 0) == 0.0);
  CHECK(learning_rate(s, 1) == near(0.25));
  CHECK(learning_rate(s, 4) == 1.0);
  CHECK(learning_rate(s, 14) == near(0.5));
  CHECK(learning_rate(s, 24) == 0.0);
  CHECK(learning_rate(s, 99) == 0.0);
}

TEST_CASE("Warm-up annealing is a line, square annealing a square, both above the floor") {
  CHECK(learning_rate(schedule(LrShape::warmup_annealing), 14) == near(0.55));
  CHECK(learning_rate(schedule(LrShape::square_annealing), 14) == near(0.25));
  CHECK(learning_rate(schedule(LrShape::square_annealing), 22) == near(0.1));
  CHECK(learning_rate(schedule(LrShape::warmup_policy), 20) == 1.0);
}

TEST_CASE("A schedule without room to fall is at its end") {
  LrSchedule const s{.shape = LrShape::cosine_annealing, .lr = 1, .max_steps = 0, .min_lr = 0.1};
  CHECK(learning_rate(s, 0) == near(0.1));
}
