// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>
#include <new>

#include <doctest/doctest.h>

#include <nxd/comm/threads.hpp>
#include <nxd/tensor/xtensor.hpp>

#include "small_llama.hpp"

using namespace nxd;
using namespace nxd::test;

namespace {

/// What this thread has asked of the heap: how often, and the most at a time.
struct Heap {
  std::size_t requests = 0, largest = 0;
};
thread_local Heap heap;

}  // namespace

void* operator new(std::size_t bytes) {
  ++heap.requests;
  heap.largest = std::max(heap.largest, bytes);
  if (auto* const p = std::malloc(bytes == 0 ? 1 : bytes)) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }

namespace {

/// What a step asks for: of the system, by the arena, and of the heap.
struct Requests {
  std::size_t arena = 0;
  Heap heap{};
};

/// What each of the last steps of a run asks for.
template <class Region, class Strategy>
std::vector<Requests> requests_of_steps(Threads::Rank comm, Job const& job, Recompute recompute) {
  auto const config = job.model();
  World<LlamaPlan, Xt, Threads::Rank> world(
      make_plan(config, {job.dp, job.tp, job.micro_batch(), job.seq, 0}), comm);
  TensorOverlap const beside(world, job.tensor);
  Llama<Region, decltype(world)> const model(world, config, recompute);
  initialize(model, 5);
  Optimizer<Strategy, decltype(world)> optimizer(world, model, {}, {Clip::Norm::l2, 1.0}, {}, {},
                                                 job.overlaps);
  std::vector<Requests> steps;
  for (std::int64_t step = 0; step < 6; ++step) {
    auto const batches =
        microbatches(job, step, line<DP>(world.plan, comm.rank()).place, config.vocab_size);
    auto const arena = this_arena().requests();
    heap = {};
    train_step(world, model, optimizer, std::span<Microbatch const>(batches), 3e-3);
    steps.push_back({this_arena().requests() - arena, heap});
  }
  return {steps.begin() + 2, steps.end()};
}

template <class Region, class Strategy> void check_steady(Job const& job, Recompute recompute) {
  Threads::run(job.dp * job.tp, [&](Threads::Rank comm) {
    auto const steps = requests_of_steps<Region, Strategy>(comm, job, recompute);
    for (auto const& step : steps) {
      CHECK(step.arena == 0);
      if (job.overlaps.sums == Overlap::always || job.tensor == Overlap::always)
        continue;  // threads copy what they send
      CHECK(step.heap.requests == steps.front().heap.requests);
      CHECK(step.heap.largest <= 512);
    }
  });
}

}  // namespace

TEST_CASE("a steady step asks the system for nothing, and the heap for names alone") {
  using Split = SequenceParallel<Seq>;
  check_steady<Duplicated, Zero1<AdamW>>({}, Recompute::none);
  check_steady<Split, Zero1<AdamW>>({.dp = 2, .tp = 2, .accumulate = 2}, Recompute::full);
  check_steady<Split, Replicated<Sgd>>({.dp = 2, .tp = 2}, Recompute::none);
  constexpr Overlaps both{Overlap::always, Overlap::always};
  check_steady<Split, Replicated<Sgd>>({.dp = 2, .tp = 2, .overlaps = both}, Recompute::none);
  check_steady<Duplicated, Zero1<AdamW>>({.dp = 4, .overlaps = both}, Recompute::none);
  check_steady<Duplicated, Zero1<AdamW>>({.tp = 2, .tensor = Overlap::always}, Recompute::full);
  test::Job wide{.tp = 2, .global_batch = 2, .seq = 256, .tensor = Overlap::always, .wide = true};
  check_steady<Split, Zero1<AdamW>>(wide, Recompute::full);
  wide.tp = 4;
  check_steady<Duplicated, Zero1<AdamW>>(wide, Recompute::none);
}
