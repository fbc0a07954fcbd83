// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <nxd/pipeline/kinds.hpp>
#include <nxd/plan/timeline.hpp>

using namespace nxd;

namespace {

using Seconds = std::vector<std::vector<double>>;

Seconds alike(Schedule const& s, Times const& times) {
  Seconds seconds(static_cast<std::size_t>(s.ranks()));
  for (std::size_t rank = 0; rank < seconds.size(); ++rank)
    for (auto const& a : s.actions[rank]) seconds[rank].push_back(times.of(a.kind) / s.chunks);
  return seconds;
}

template <class K> void check_as_proved(Times times) {
  for (int p = 1; p <= 5; ++p)
    for (int m = 1; m <= 11; m += 2)
      for (int v = 1; v <= 3; ++v) {
        if (!check_numbers<K>(p, m, v)) continue;
        CAPTURE(p);
        CAPTURE(m);
        CAPTURE(v);
        auto const s = K::make(p, m, v);
        auto const proof = verify(s, Channel::posted, times);
        auto const line = run_on_paper(s, alike(s, times), times.hop);
        REQUIRE(line.finish.size() == proof.finish.size());
        for (std::size_t rank = 0; rank < line.finish.size(); ++rank) {
          REQUIRE(line.finish[rank].size() == proof.finish[rank].size());
          for (std::size_t i = 0; i < line.finish[rank].size(); ++i)
            CHECK(line.finish[rank][i] == doctest::Approx(proof.finish[rank][i]));
        }
        CHECK(line.makespan == doctest::Approx(proof.makespan));
        CHECK(line.work == doctest::Approx(proof.work));
        CHECK(line.bubble() == doctest::Approx(proof.bubble()));
      }
}

template <class K> void check_as_proved() {
  check_as_proved<K>({});
  check_as_proved<K>({1, 1.3, .7});
  check_as_proved<K>({1, 2.2, .9, .05});
}

/// Seconds of the forward, the backward pass of each rank; weight gradients are half of the latter.
Seconds of_ranks(Schedule const& s, std::vector<std::array<double, 2>> const& ranks) {
  Seconds seconds(ranks.size());
  for (std::size_t rank = 0; rank < ranks.size(); ++rank)
    for (auto const& a : s.actions[rank]) {
      auto const [forward, backward] = ranks[rank];
      seconds[rank].push_back(a.kind == Pass::forward    ? forward
                              : a.kind == Pass::backward ? backward
                                                         : backward / 2);
    }
  return seconds;
}

}  // namespace

TEST_CASE("Where all stages are alike, actions are done when the proof says") {
  check_as_proved<GPipe>();
  check_as_proved<OneFOneB>();
  check_as_proved<Interleaved>();
  check_as_proved<ZbH1>();
  check_as_proved<ZbV>();
}

TEST_CASE("One rank does one action after the other") {
  auto const s = OneFOneB::make(1, 3);  // F B F B F B
  auto const line = run_on_paper(s, {{1, 10, 2, 20, 3, 30}}, 5);
  CHECK(line.finish == Seconds{{1, 11, 13, 33, 36, 66}});
  CHECK(line.makespan == 66);
  CHECK(line.work == 66);
  CHECK(line.bubble() == 0);
}

TEST_CASE("A slow last stage is waited for: the first takes its backward passes when they come") {
  // 0: F0 F1 B0 B1    1: F0 B0 F1 B1
  auto const s = OneFOneB::make(2, 2);
  auto const line = run_on_paper(s, of_ranks(s, {{1, 2}, {10, 20}}), 0);
  CHECK(line.finish == Seconds{{1, 2, 33, 63}, {11, 31, 41, 61}});
  CHECK(line.makespan == 63);
  CHECK(line.work == (6 + 60) / 2.);
  CHECK(line.bubble() == doctest::Approx(1 - 33 / 63.));
}

TEST_CASE("A message takes its time between two ranks, in both directions") {
  auto const s = OneFOneB::make(2, 2);
  auto const line = run_on_paper(s, of_ranks(s, {{1, 2}, {10, 20}}), .5);
  CHECK(line.finish == Seconds{{1, 2, 34, 64}, {11.5, 31.5, 41.5, 61.5}});
}

TEST_CASE("Between two stages of one rank no message is sent") {
  // The V of ZB-V turns on rank 1: its stages 1 and 2 are neighbours.
  auto const s = ZbV::make(2, 3, 2);
  auto const near = run_on_paper(s, alike(s, {2, 2, 2, 0}), 0);
  auto const far = run_on_paper(s, alike(s, {2, 2, 2, 0}), 1000);
  auto const at = [&](Timeline const& line, int rank, Action const& a) {
    auto const& actions = s.actions[static_cast<std::size_t>(rank)];
    auto const i = std::ranges::find(actions, a) - actions.begin();
    return line.finish[static_cast<std::size_t>(rank)][static_cast<std::size_t>(i)];
  };
  Action const first{Pass::forward, 0, 0}, turned{Pass::forward, 0, 1};
  CHECK(at(near, 1, first) == 2);
  CHECK(at(far, 1, first) == 1002);
  CHECK(at(near, 0, turned) == 4);
  CHECK(at(far, 0, turned) == 2004);  // one message there, one back, none at the turn
}

TEST_CASE("Put off weight gradients fill the wait for a slow neighbour") {
  auto const zero_bubble = ZbH1::make(2, 4);
  auto const plain = OneFOneB::make(2, 4);
  std::vector<std::array<double, 2>> const ranks{{1, 2}, {1.5, 3}};
  auto const a = run_on_paper(zero_bubble, of_ranks(zero_bubble, ranks), 0);
  auto const b = run_on_paper(plain, of_ranks(plain, ranks), 0);
  CHECK(a.work == doctest::Approx(b.work));
  CHECK(a.makespan < b.makespan);
  CHECK(a.makespan >= 4 * 4.5 + 1);  // the slow rank, from the first input on
}

TEST_CASE("No rank begins before it is done with what comes before, or before its input is there") {
  auto const s = Interleaved::make(3, 6, 2);
  Seconds seconds;
  for (std::size_t rank = 0; rank < 3; ++rank) {
    seconds.emplace_back();
    for (std::size_t i = 0; i < s.actions[rank].size(); ++i)
      seconds[rank].push_back(1 + static_cast<double>((7 * i + 3 * rank) % 5));
  }
  auto const line = run_on_paper(s, seconds, .25);
  double work = 0;
  for (std::size_t rank = 0; rank < 3; ++rank)
    for (std::size_t i = 0; i < seconds[rank].size(); ++i) {
      auto const start = line.finish[rank][i] - seconds[rank][i];
      work += seconds[rank][i] / 3;
      if (i > 0) CHECK(start >= doctest::Approx(line.finish[rank][i - 1]));
      auto const& a = s.actions[rank][i];
      auto const stage = s.stage(static_cast<int>(rank), a.chunk);
      if (a.kind != Pass::forward || stage == 0) continue;
      auto const from = s.seat(stage - 1);
      auto const& before = s.actions[static_cast<std::size_t>(from.rank)];
      auto const made = std::ranges::find(before, Action{Pass::forward, a.microbatch, from.chunk}) -
                        before.begin();
      CHECK(start >=
            doctest::Approx(
                line.finish[static_cast<std::size_t>(from.rank)][static_cast<std::size_t>(made)] +
                .25));
    }
  CHECK(line.work == doctest::Approx(work));
}
