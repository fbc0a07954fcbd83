// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <nxd/comm/threads.hpp>
#include <nxd/tensor/dry.hpp>
#include <nxd/tensor/xtensor.hpp>
#include <nxd/train/step_cost.hpp>

#include "models/pipelined_llama.hpp"

using namespace nxd;
using namespace nxd::test;

namespace {

/// What two steps come to: what each of them costs a rank, its memory counted from before there was
/// a model, and what they say.
struct Steps {
  std::vector<StepCost> costs;
  std::vector<double> losses, norms;
};

template <class Region, class Strategy, class Backend, class C>
Steps steps_of(C comm, PipelineJob const& job) {
  World<LlamaPlan, Backend, Recorder<C>> world(
      make_plan(job.model(), {job.dp, job.tp, job.data().micro_batch(), job.seq, 0}),
      Recorder<C>(comm));
  TensorOverlap const beside(world, job.tensor);
  auto const model = make_pipelined<Region>(world, job);
  initialize(model, 5);
  Optimizer<Strategy, decltype(world)> optimizer(world, model, {}, {Clip::Norm::l2, 1.0}, {}, {},
                                                 job.overlaps);
  Steps steps;
  for (std::int64_t step = 0; step < 2; ++step) {
    auto const batches = microbatches(job.data(), step, line<DP>(world.plan, world.rank()).place,
                                      job.model().vocab_size);
    steps.costs.push_back(cost_of(world, [&] {
      auto const report =
          train_step(world, model, optimizer, std::span<Microbatch const>(batches), 3e-3);
      steps.losses.push_back(report.loss), steps.norms.push_back(report.grad_norm);
    }));
  }
  return steps;
}

/// On every rank of a run on threads.
template <class Region, class Strategy> std::vector<Steps> on_threads(PipelineJob const& job) {
  std::vector<Steps> ranks(static_cast<std::size_t>(job.ranks()));
  Threads::run(job.ranks(), [&](Threads::Rank rank) {
    ranks[static_cast<std::size_t>(rank.rank())] = steps_of<Region, Strategy, Xt>(rank, job);
  });
  return ranks;
}

template <class Region, class Strategy> std::vector<Steps> check_exact(PipelineJob const& job) {
  CAPTURE(job.kind);
  CAPTURE(job.pp);
  CAPTURE(job.tp);
  CAPTURE(job.dp);
  auto const ranks = on_threads<Region, Strategy>(job);
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    CAPTURE(rank);
    auto const& real = ranks[rank].costs;
    auto const [dry, losses, norms] = steps_of<Region, Strategy, Dry<Xt>>(
        Nobody(static_cast<std::int64_t>(rank), job.ranks()), job);
    for (std::size_t step = 0; step < 2; ++step) {
      CHECK(dry[step].before.bytes == real[step].before.bytes);
      CHECK(dry[step].peak.bytes == real[step].peak.bytes);
      CHECK(dry[step].traffic == real[step].traffic);
      CHECK(dry[step].flops == real[step].flops);
    }
    CHECK(dry[1].peak.total() > 0);
  }
  return ranks;
}

/// Sums and gathers that begin early send what the others do, and steps have their bits.
template <class Region, class Strategy> void check_early(PipelineJob job, Overlap tensor = {}) {
  job.overlaps = {Overlap::always, Overlap::always};
  job.tensor = tensor;
  auto const early = check_exact<Region, Strategy>(job);
  job.overlaps = {};
  job.tensor = {};
  auto const late = on_threads<Region, Strategy>(job);
  for (std::size_t rank = 0; rank < early.size(); ++rank) {
    CHECK(early[rank].losses == late[rank].losses);
    CHECK(early[rank].norms == late[rank].norms);
    for (std::size_t step = 0; step < 2; ++step)
      CHECK(early[rank].costs[step].traffic == late[rank].costs[step].traffic);
  }
}

constexpr auto none = Recompute::none, selective = Recompute::selective, full = Recompute::full;

}  // namespace

TEST_CASE("a dry run costs every rank what the run costs: activations duplicated, ZeRO-1") {
  using Strategy = Zero1<AdamW>;
  check_exact<Duplicated, Strategy>({.kind = "1f1b", .pp = 1, .microbatches = 1});
  check_exact<Duplicated, Strategy>({.kind = "1f1b", .pp = 1, .tp = 2, .dp = 2});
  check_exact<Duplicated, Strategy>({.kind = "1f1b", .pp = 1, .tp = 4, .microbatches = 2});
  check_exact<Duplicated, Strategy>({.kind = "gpipe", .pp = 2, .recompute = none});
  check_exact<Duplicated, Strategy>({.kind = "1f1b", .pp = 4, .dp = 2, .recompute = selective});
  check_exact<Duplicated, Strategy>(
      {.kind = "interleaved", .pp = 2, .chunks = 2, .tied = true, .recompute = full});
  check_exact<Duplicated, Strategy>({.kind = "zb-h1", .pp = 8, .dp = 2, .recompute = none});
}

TEST_CASE("a dry run costs every rank what the run costs: sequence parallel, ZeRO-1") {
  using Region = SequenceParallel<Seq>;
  using Strategy = Zero1<AdamW>;
  check_exact<Region, Strategy>({.kind = "1f1b", .pp = 1, .tp = 4, .dp = 2, .microbatches = 2});
  check_exact<Region, Strategy>({.kind = "gpipe", .pp = 4, .tp = 2, .dp = 2, .recompute = full});
  check_exact<Region, Strategy>(
      {.kind = "zb-v", .pp = 4, .tp = 2, .chunks = 2, .tied = true, .recompute = selective});
}

TEST_CASE("a dry run costs every rank what the run costs: state replicated") {
  using Strategy = Replicated<AdamW>;
  check_exact<Duplicated, Strategy>({.kind = "1f1b", .pp = 1, .dp = 2, .microbatches = 2});
  check_exact<SequenceParallel<Seq>, Strategy>(
      {.kind = "zb-h1", .pp = 4, .tp = 2, .dp = 2, .tied = true, .recompute = none});
}

TEST_CASE("sums that begin early cost what a dry run says, and give the bits of the others") {
  using Split = SequenceParallel<Seq>;
  check_early<Duplicated, Zero1<AdamW>>({.kind = "1f1b", .pp = 1, .dp = 4, .microbatches = 2});
  check_early<Duplicated, Zero1<AdamW>>(
      {.kind = "interleaved", .pp = 2, .dp = 2, .chunks = 2, .tied = true, .recompute = full});
  check_early<Split, Zero1<AdamW>>(
      {.kind = "1f1b", .pp = 1, .tp = 2, .dp = 2, .tied = true, .recompute = selective});
  check_early<Split, Zero1<AdamW>>({.kind = "zb-h1", .pp = 2, .dp = 3, .global_batch = 24});
  check_early<Duplicated, Replicated<AdamW>>(
      {.kind = "1f1b", .pp = 2, .dp = 3, .global_batch = 24});
}

TEST_CASE(
    "sums over tensor ranks beside gradients of weights: the dry run's costs, the same bits") {
  using Split = SequenceParallel<Seq>;
  constexpr auto beside = Overlap::always;
  check_early<Duplicated, Zero1<AdamW>>(
      {.kind = "1f1b", .pp = 1, .tp = 4, .microbatches = 2, .tied = true}, beside);
  check_early<Split, Zero1<AdamW>>({.kind = "1f1b", .pp = 1, .tp = 2, .dp = 2, .tied = true},
                                   beside);
  check_early<Split, Replicated<AdamW>>({.kind = "zb-h1", .pp = 4, .tp = 2, .dp = 2, .tied = true},
                                        beside);
  check_early<Duplicated, Zero1<AdamW>>(
      {.kind = "interleaved", .pp = 2, .tp = 2, .chunks = 2, .recompute = full}, beside);
}

TEST_CASE("exchanges over tensor ranks beside products: the dry run's costs, the same bits") {
  using Split = SequenceParallel<Seq>;
  constexpr auto beside = Overlap::always;
  auto const wide = [](PipelineJob job, std::int64_t seq) {
    job.wide = true, job.seq = seq, job.layers = 2 * job.pp;
    return job;
  };
  check_early<Duplicated, Zero1<AdamW>>(
      wide({.pp = 1, .tp = 2, .microbatches = 2, .tied = true, .global_batch = 4}, 130), beside);
  check_early<Duplicated, Replicated<AdamW>>(
      wide({.pp = 1, .tp = 4, .microbatches = 1, .recompute = full, .global_batch = 2}, 203),
      beside);
  check_early<Split, Zero1<AdamW>>(
      wide({.pp = 1, .tp = 2, .dp = 2, .microbatches = 1, .tied = true, .global_batch = 4}, 260),
      beside);
  check_early<Split, Zero1<AdamW>>(
      wide({.pp = 1, .tp = 4, .microbatches = 1, .recompute = full, .global_batch = 2}, 512),
      beside);
  check_early<Split, Replicated<AdamW>>(
      wide({.kind = "zb-h1", .pp = 2, .tp = 2, .microbatches = 2, .tied = true, .global_batch = 4},
           256),
      beside);
}

TEST_CASE(
    "sums that begin early have begun when the last backward pass ends, and others have not") {
  PipelineJob const job{.kind = "1f1b", .pp = 1, .dp = 2, .microbatches = 2};
  for (auto const overlap : {Overlap::never, Overlap::always})
    Threads::run(job.ranks(), [&](Threads::Rank rank) {
      using Here = World<LlamaPlan, Xt, Recorder<Threads::Rank>>;
      Here world(make_plan(job.model(), {job.dp, job.tp, job.data().micro_batch(), job.seq, 0}),
                 Recorder<Threads::Rank>(rank));
      auto const model = make_pipelined<Duplicated>(world, job);
      initialize(model, 5);
      Optimizer<Zero1<AdamW>, Here> optimizer(world, model, {}, {}, {}, {}, {overlap, overlap});
      auto const batches = microbatches(job.data(), 0, line<DP>(world.plan, world.rank()).place,
                                        job.model().vocab_size);
      world.gradient_watch = optimizer.watch(model);
      accumulate_gradients(world, model, std::span<Microbatch const>(batches));
      std::size_t weights = 0, waiting = 0;
      model.visit([&]<class X>(ParameterInfo const&, Var<X, Here> const& weight, auto) {
        ++weights;
        if (weight.has_grad()) ++waiting;
      });
      CHECK(waiting == (overlap == Overlap::never ? weights : 0));
      optimizer.reduce(model);
    });
}

namespace {

using Here = World<LlamaPlan, Xt, Recorder<Threads::Rank>>;
using Early = Optimizer<Zero1<AdamW>, Here>;

/// What a rank has after one step whose gathers are so.
template <class F> void after_a_step(Overlap gathers, F const& check) {
  PipelineJob const job{.kind = "1f1b", .pp = 1, .dp = 2, .microbatches = 2};
  Threads::run(job.ranks(), [&](Threads::Rank rank) {
    Here world(make_plan(job.model(), {job.dp, job.tp, job.data().micro_batch(), job.seq, 0}),
               Recorder<Threads::Rank>(rank));
    auto const model = make_pipelined<Duplicated>(world, job);
    initialize(model, 5);
    auto const batches = microbatches(job.data(), 0, line<DP>(world.plan, world.rank()).place,
                                      job.model().vocab_size);
    check(world, model, std::span<Microbatch const>(batches), [&] {
      auto optimizer = std::make_unique<Early>(world, model, AdamW{}, Clip{}, WeightPrecision{},
                                               Zero1<AdamW>{}, Overlaps{Overlap::never, gathers});
      train_step(world, model, *optimizer, std::span<Microbatch const>(batches), 3e-3);
      return optimizer;
    });
  });
}

/// Weights of a model that are on their way.
std::int64_t under_way(auto const& model) {
  std::int64_t n = 0;
  model.visit([&](ParameterInfo const&, auto const& weight, auto) {
    if (weight.slot().cell()->arrivals != nullptr) ++n;
  });
  return n;
}

}  // namespace

TEST_CASE("gathers that begin early are under way after an update, and end as weights are read") {
  for (auto const gathers : {Overlap::never, Overlap::always})
    after_a_step(gathers, [&](auto& world, auto const& model, auto batches, auto const& step) {
      bool const early = gathers == Overlap::always;
      auto const optimizer = step();
      std::int64_t weights = 0;
      model.visit([&](auto const&...) { ++weights; });
      CHECK(under_way(model) == (early ? weights : 0));
      CHECK((world.weight_arrivals != nullptr) == early);
      Trace trace;
      world.comm.write_to(&trace);
      using Tokens = typename std::remove_cvref_t<decltype(model)>::Tokens;
      model.chunk(0).embed(
          world.constant(world.template make<Tokens>([](auto) { return std::int32_t{0}; })));
      CHECK(under_way(model) == (early ? weights - 1 : 0));  // the first layer's are not waited for
      evaluate(world, model, batches);
      CHECK(under_way(model) == 0);
      CHECK(world.weight_arrivals == nullptr);
      auto const waits = std::ranges::count_if(trace.events(), [](auto const& event) {
        return event.category == "wait" && event.name == "all_gather";
      });
      CHECK(waits == (early ? weights : 0));
      world.comm.write_to(nullptr);
    });
}

TEST_CASE("gradients of weights are made while what they meet is summed, if that is asked for") {
  for (auto const tensor : {Overlap::never, Overlap::always}) {
    PipelineJob const job{.kind = "1f1b", .pp = 1, .tp = 2, .microbatches = 1, .tensor = tensor};
    Threads::run(job.ranks(), [&](Threads::Rank rank) {
      Here world(make_plan(job.model(), {job.dp, job.tp, job.data().micro_batch(), job.seq, 0}),
                 Recorder<Threads::Rank>(rank));
      TensorOverlap const beside(world, job.tensor);
      auto const model = make_pipelined<Duplicated>(world, job);
      initialize(model, 5);
      auto const batches = microbatches(job.data(), 0, 0, job.model().vocab_size);
      Trace trace;
      world.trace = &trace;
      world.comm.write_to(&trace);
      GradientWatch const watch{&trace,
                                [](void* who, void*) {
                                  static_cast<Trace*>(who)->add({"whole", "weight", 0, 0});
                                },
                                [](void*) {}};
      world.gradient_watch = &watch;
      accumulate_gradients(world, model, std::span<Microbatch const>(batches));
      // A sum of each layer's two halves and one of the head: begun, weights' gradients whole,
      // ended.
      std::int64_t sums = 0;
      std::string_view before = "";
      for (auto const& [category, name, start, finish, bytes] : trace.events()) {
        if (name != "all_reduce" && name != "weight") continue;
        if (category == "wait" && before == "whole") ++sums;
        if (category != "whole" || before == "exchange") before = category;
      }
      CHECK(sums == (tensor == Overlap::always ? 2 * job.layers + 1 : 0));
      CHECK(!world.has_put_off());
      world.trace = nullptr;
      world.comm.write_to(nullptr);
    });
  }
}

namespace {

/// How often, in a step, rows of a product travel while others are made.
template <class Region> std::int64_t products_beside(PipelineJob const& job) {
  std::vector<std::int64_t> ranks(static_cast<std::size_t>(job.ranks()));
  Threads::run(job.ranks(), [&](Threads::Rank rank) {
    Here world(make_plan(job.model(), {job.dp, job.tp, job.data().micro_batch(), job.seq, 0}),
               Recorder<Threads::Rank>(rank));
    TensorOverlap const beside(world, job.tensor);
    auto const model = make_pipelined<Region>(world, job);
    initialize(model, 5);
    auto const batches = microbatches(job.data(), 0, 0, job.model().vocab_size);
    Trace trace;
    world.trace = &trace;
    accumulate_gradients(world, model, std::span<Microbatch const>(batches));
    ranks[static_cast<std::size_t>(rank.rank())] = std::ranges::count_if(
        trace.events(),
        [](auto const& event) { return event.category == "beside" && event.name == "product"; });
    world.trace = nullptr;
  });
  CHECK(ranks.front() == ranks.back());
  return ranks.front();
}

}  // namespace

TEST_CASE(
    "rows of products travel while others are made, if that is asked for and there are many") {
  PipelineJob job{.pp = 1, .tp = 2, .microbatches = 1, .layers = 2, .global_batch = 2, .seq = 256};
  using Split = SequenceParallel<Seq>;
  job.tensor = Overlap::always;
  CHECK(products_beside<Split>(job) == 0);
  job.wide = true;
  // Of a layer's two halves: into the first product and out of the last, and into its gradient.
  CHECK(products_beside<Split>(job) == 2 * 2 * 3);
  CHECK(products_beside<Duplicated>(job) == 2 * 2);
  job.tensor = Overlap::never;
  CHECK(products_beside<Split>(job) == 0);
}

TEST_CASE(
    "weights that an optimizer leaves behind are whole, but after an error nobody reads them") {
  after_a_step(Overlap::always, [](auto&, auto const& model, auto, auto const& step) {
    step().reset();
    CHECK(under_way(model) == 0);
  });
  after_a_step(Overlap::always, [](auto& world, auto const& model, auto batches, auto const& step) {
    try {
      auto const optimizer = step();
      throw std::runtime_error("a step fails");
    } catch (std::runtime_error const&) {
    }
    CHECK_THROWS_AS(evaluate(world, model, batches), Error);
  });
}
