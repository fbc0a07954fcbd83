// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <nxd/tensor/reference.hpp>

#include "small_llama.hpp"

using namespace nxd;
using namespace nxd::test;

namespace {

using W = World<LlamaPlan, Reference<double>>;

/// How far gradients of the mean loss are from its slopes, a few elements of every parameter taken,
/// relative to the largest slope of that parameter.
double error(LlamaConfig const& config, Recompute recompute) {
  test::Job job;
  job.global_batch = 2;
  W world(make_plan(config, {1, 1, job.micro_batch(), job.seq, 0}));
  Llama<Duplicated, W> const model(world, config, recompute);
  initialize(model, 5);
  auto const samples = microbatches(job, 0, 0, config.vocab_size);
  auto const batch = std::span<Microbatch const>(samples);
  accumulate_gradients(world, model, batch);
  double furthest = 0;
  std::uint64_t drawn = 0;
  model.visit([&]<class X>(ParameterInfo const&, Var<X, W> const& parameter, auto) {
    auto const size = X::local_size(world.plan);
    double largest = 0, difference = 0;
    for (int pick = 0; pick < 3; ++pick) {
      auto const i = static_cast<std::int64_t>(Stream(11, "pick").uniform(drawn++) *
                                               static_cast<double>(size));
      auto& element = data(parameter.value())[i];
      auto const before = element;
      auto const at = [&](double by) {
        element = before + by;
        auto const loss = evaluate(world, model, batch);
        element = before;
        return loss;
      };
      constexpr auto step = 1e-3;
      auto const slope = (8 * (at(step) - at(-step)) - at(2 * step) + at(-2 * step)) / (12 * step);
      largest = std::max(largest, std::abs(slope));
      difference = std::max(difference, std::abs(slope - data(parameter.grad())[i]));
    }
    furthest = std::max(furthest, difference / std::max(largest, 1e-6));
  });
  CHECK(drawn == (config.tie_word_embeddings ? 3 * (2 + 4 * 8) : 3 * (3 + 4 * 8)));
  return furthest;
}

}  // namespace

TEST_CASE("the gradients of a Llama are the slopes of its loss") {
  CHECK(error(small_llama(), Recompute::none) < 1e-7);
}

TEST_CASE("so they are where blocks are computed anew, and where the table is the head too") {
  auto config = small_llama();
  config.tie_word_embeddings = true;
  CHECK(error(config, Recompute::full) < 1e-7);
}
