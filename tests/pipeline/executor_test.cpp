// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <nxd/comm/threads.hpp>
#include <nxd/tensor/reference.hpp>

#include "own_schedule.hpp"
#include "scaling_stages.hpp"

using namespace nxd;
using namespace nxd::test;

namespace {

constexpr std::int64_t width = 96;

/// What a run has left on one rank.
struct Ran {
  double loss = 0;
  int live_peak = 0, really_live = 0;
  std::int64_t mistakes = 0;
  bool right_gradients = false;
  Times taken{};
  double start = 0, finish = 0;
};

template <class C> Ran run_rank(C comm, Schedule const& schedule, Times wanted = {0, 0, 0}) {
  auto const place = static_cast<int>(comm.rank());
  World<ScalingPlan, Reference<float>, C> world({{"width", width}}, comm);
  ScalingStages stages(world, schedule, place);
  stages.clock.wanted = wanted;
  PipelineExecutor executor(world, schedule, all_ranks(comm), stages);
  world.comm.barrier();
  Ran ran;
  ran.start = Clock::now();
  ran.loss = executor.run();
  ran.finish = Clock::now();
  ran.live_peak = executor.live_peak();
  ran.really_live = stages.live.peak;
  ran.mistakes = stages.mistakes;
  ran.right_gradients = stages.has_right_gradients(place);
  ran.taken = stages.clock.taken;
  return ran;
}

std::vector<Ran> run_ranks(Schedule const& schedule, Times wanted = {0, 0, 0}) {
  std::vector<Ran> ranks(static_cast<std::size_t>(schedule.ranks()));
  Threads::run(schedule.ranks(), [&](Threads::Rank rank) {
    ranks[static_cast<std::size_t>(rank.rank())] = run_rank(rank, schedule, wanted);
  });
  return ranks;
}

double loss_of(std::vector<Ran> const& ranks) {
  double sum = 0;
  for (auto const& rank : ranks) sum += rank.loss;
  return sum;
}

template <ScheduleKind K> void everywhere(auto const& check) {
  for (int const p : {1, 2, 3, 4, 8})
    for (int const m : {1, 2, 5, 8, 12})
      for (int const v : {1, 2, 3, 4}) {
        if (!check_numbers<K>(p, m, v)) continue;
        CAPTURE(name_of<K>());
        CAPTURE(p);
        CAPTURE(m);
        CAPTURE(v);
        check(p, m, v);
      }
}

/// The bubble of a run, and what a proof says for the times that its passes took.
struct Bubbles {
  double measured, proved;
  double apart() const { return std::abs(measured / proved - 1); }
};

Bubbles bubbles(Schedule const& schedule, Times wanted) {
  Times mean{0, 0, 0};
  double start = 1e300, finish = 0;
  auto const ranks = run_ranks(schedule, wanted);
  for (auto const& rank : ranks) {
    for (auto const time : {&Times::forward, &Times::input_gradient, &Times::weight_gradient})
      mean.*time += rank.taken.*time / (schedule.ranks() * schedule.microbatches);
    start = std::min(start, rank.start);
    finish = std::max(finish, rank.finish);
  }
  auto const work = mean.all() * schedule.microbatches;
  return {1 - work / (finish - start), verify(schedule, Channel::posted, mean).bubble()};
}

/// A rank whose messages from one other rank fail after the first few.
struct Severed : Threads::Rank {
  std::int64_t from;
  int messages;

  template <Transferable T> void receive(std::int64_t sender, int tag, std::span<T> data) {
    if (sender == from && messages-- == 0)
      throw Error(ExitCode::internal, "rank " + std::to_string(sender) + " is gone");
    Threads::Rank::receive(sender, tag, data);
  }
};

/// Stages of which those of rank 1 fail at their third forward pass.
template <class World> struct FailingStages : ScalingStages<World> {
  using ScalingStages<World>::ScalingStages;

  int mutable forwards = 0;

  auto pass(int chunk, Var<typename FailingStages::Residual, World> const& x) const {
    if (this->world.rank() == 1 && forwards++ == 2)
      throw Error(ExitCode::internal, "this machine is too small");
    return ScalingStages<World>::pass(chunk, x);
  }
};
/// What comes of a pipeline in which rank `at` loses sight of rank `from` after so many messages.
std::string lost(Schedule const& schedule, std::int64_t at, std::int64_t from, int messages) {
  try {
    Threads::run(schedule.ranks(), [&](Threads::Rank rank) {
      bool const hit = rank.rank() == at;
      run_rank(Severed{rank, hit ? from : -1, messages}, schedule);
    });
  } catch (Error const& e) {
    CHECK(e.code == ExitCode::internal);
    return e.what();
  }
  return "nothing was thrown";
}

}  // namespace

TEST_CASE("Every schedule, own ones too, makes the loss and gradients of one rank, to the bit") {
  auto const run = []<class K>(int) {
    everywhere<K>([](int p, int m, int v) {
      auto const ranks = run_ranks(K::make(p, m, v));
      CHECK(loss_of(ranks) == ScalingStages<World<ScalingPlan>>::loss(width, p * v, m));
      for (auto const& rank : ranks) {
        CHECK(rank.mistakes == 0);
        CHECK(rank.right_gradients);
      }
    });
  };
  for_every_schedule(run);
  run.operator()<OneAtATime>(1);
}

TEST_CASE("A run keeps the activations of as many chunks as its proof says, on every rank") {
  for_every_schedule([]<class K>(int) {
    everywhere<K>([](int p, int m, int v) {
      auto const schedule = K::make(p, m, v);
      auto const ranks = run_ranks(schedule);
      std::vector<int> counted, kept;
      for (auto const& rank : ranks) {
        counted.push_back(rank.live_peak);
        kept.push_back(rank.really_live);
      }
      CHECK(counted == verify(schedule).live);
      CHECK(kept == verify(schedule).live);
    });
  });
}

TEST_CASE("The bubble of a run is that of its proof, within a tenth") {
  constexpr auto times = std::to_array<Times>({{.01, .01, .01}, {.01, .013, .007}});
  for_every_schedule([&]<class K>(int chunks) {
    for (auto const& wanted : times) {
      auto const schedule = K::make(4, 8, chunks);
      auto seen = bubbles(schedule, wanted);
      // Other work on the machine makes sleepers late, by a time that does not grow with their
      // sleep; what is wrong in the executor does.
      for (auto rests = wanted; rests.forward < 0.1 && seen.apart() > 0.1;) {
        for (auto const time : {&Times::forward, &Times::input_gradient, &Times::weight_gradient})
          rests.*time *= 2;
        seen = bubbles(schedule, rests);
      }
      CAPTURE(name_of<K>());
      CAPTURE(seen.proved);
      CAPTURE(seen.measured);
      CHECK(seen.apart() < 0.1);
    }
  });
}

TEST_CASE("Evaluation makes the loss of one rank, whatever the schedule and its microbatches") {
  for_every_schedule([]<class K>(int chunks) {
    for (int const p : {2, 4})
      for (int const m : {1, 3, 8}) {
        CAPTURE(name_of<K>());
        CAPTURE(p);
        CAPTURE(m);
        auto const schedule = make_proved<ForwardOnly<K>>(p, m, chunks);
        auto const ranks = run_ranks(schedule);
        auto const one = run_ranks(make_proved<ForwardOnly<Interleaved>>(1, m, schedule.stages()));
        CHECK(loss_of(ranks) == loss_of(one));
        CHECK(loss_of(one) == ScalingStages<World<ScalingPlan>>::loss(width, p * chunks, m));
        for (auto const& rank : ranks) {
          CHECK(rank.mistakes == 0);
          CHECK(rank.really_live == 1);
          CHECK_FALSE(rank.right_gradients);
        }
      }
  });
}

TEST_CASE("A message that does not come is an error that names the rank and the action") {
  CHECK(lost(OneFOneB::make(3, 5), 1, 0, 3) == "pipeline rank 1 at F3.0: rank 0 is gone");
  CHECK(lost(OneFOneB::make(3, 5), 1, 2, 2) == "pipeline rank 1 at B2.0: rank 2 is gone");
  CHECK(lost(ZbH1::make(3, 5), 0, 1, 4) == "pipeline rank 0 at I4.0: rank 1 is gone");
  CHECK(lost(Interleaved::make(2, 4, 2), 0, 1, 0) == "pipeline rank 0 at F0.1: rank 1 is gone");
  CHECK(lost(ForwardOnly<ZbV>::make(2, 4, 2), 0, 1, 1) ==
        "pipeline rank 0 at F1.1: rank 1 is gone");
}

TEST_CASE(
    "A rank that fails releases its neighbours, and its error names the rank and the action") {
  for_every_schedule([]<class K>(int chunks) {
    auto const schedule = K::make(3, 6, chunks);
    auto const run = [&] {
      Threads::run(3, [&](Threads::Rank rank) {
        World<ScalingPlan, Reference<float>, Threads::Rank> world({{"width", width}}, rank);
        FailingStages<decltype(world)> const stages(world, schedule, static_cast<int>(rank.rank()));
        PipelineExecutor(world, schedule, all_ranks(rank), stages).run();
      });
    };
    CHECK_THROWS_WITH_AS(run(), "pipeline rank 1 at F2.0: this machine is too small", Error);
  });
}

TEST_CASE("A message of another length is an error that names the rank and the action") {
  auto const schedule = OneFOneB::make(2, 2);
  auto const run = [&] {
    Threads::run(2, [&](Threads::Rank rank) {
      World<ScalingPlan, Reference<float>, Threads::Rank> world({{"width", 8 + rank.rank()}}, rank);
      ScalingStages const stages(world, schedule, static_cast<int>(rank.rank()));
      PipelineExecutor(world, schedule, all_ranks(rank), stages).run();
    });
  };
  CHECK_THROWS_WITH_AS(run(),
                       "pipeline rank 1 at F0.0: rank 1 waits for a message of 36 bytes of F32, "
                       "but rank 0 sent a message of 32 bytes of F32",
                       Error);
}
