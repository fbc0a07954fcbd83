// SPDX-License-Identifier: Apache-2.0
#include <set>

#include <doctest/doctest.h>

#include <nxd/pipeline/kinds.hpp>

#include "own_schedule.hpp"

using namespace nxd;
using namespace nxd::test;

namespace {

std::string line(std::vector<Action> const& actions) {
  std::string all;
  for (auto const& a : actions) all += (all.empty() ? "" : " ") + text(a);
  return all;
}

/// 1F1B by what is in flight: forward while there is room for another, backward otherwise.
std::vector<Action> by_room(int room, int microbatches) {
  std::vector<Action> actions;
  for (int f = 0, b = 0; b < microbatches;)
    if (f < microbatches && f - b < room)
      actions.push_back({Pass::forward, f++, 0});
    else
      actions.push_back({Pass::backward, b++, 0});
  return actions;
}

/// 1F1B by its phases: forward passes to warm up, pairs of one forward and one backward, the rest.
std::vector<Action> by_phases(int warmup, int microbatches) {
  std::vector<Action> actions;
  for (int k = 0; k < warmup; ++k) actions.push_back({Pass::forward, k, 0});
  for (int k = warmup; k < microbatches; ++k) {
    actions.push_back({Pass::forward, k, 0});
    actions.push_back({Pass::backward, k - warmup, 0});
  }
  for (int k = microbatches - warmup; k < microbatches; ++k)
    actions.push_back({Pass::backward, k, 0});
  return actions;
}

/// The k-th forward or backward step of a rank in interleaving with m mod p = 0.
Action step(bool forward, int k, int ranks, int chunks) {
  int const round = ranks * chunks, chunk = k % round / ranks;
  return {forward ? Pass::forward : Pass::backward, k / round * ranks + k % ranks,
          forward ? chunk : chunks - chunk - 1};
}

std::vector<Action> by_steps(int ranks, int microbatches, int chunks, int rank) {
  int const total = microbatches * chunks;
  int const warmup = microbatches == ranks
                         ? total
                         : std::min(total, (ranks - rank - 1) * 2 + (chunks - 1) * ranks);
  std::vector<Action> actions;
  for (int k = 0; k < warmup; ++k) actions.push_back(step(true, k, ranks, chunks));
  for (int k = warmup; k < total; ++k) {
    actions.push_back(step(true, k, ranks, chunks));
    actions.push_back(step(false, k - warmup, ranks, chunks));
  }
  for (int k = total - warmup; k < total; ++k) actions.push_back(step(false, k, ranks, chunks));
  return actions;
}

struct NoSchedule {
  static constexpr int make(int, int, int) { return 0; }
};

static_assert(ScheduleKind<OneAtATime> && !ScheduleKind<NoSchedule> && !ScheduleKind<int>);
static_assert(name_of<ZbH1>() == "zb-h1" && name_of<OneAtATime>() == "this schedule");

constexpr bool seats_are_stages(StageMap map) {
  Schedule s{.chunks = 3, .map = map};
  s.actions.resize(4);
  for (int stage = 0; stage < s.stages(); ++stage) {
    auto const seat = s.seat(stage);
    if (s.stage(seat.rank, seat.chunk) != stage) return false;
  }
  return true;
}
static_assert(seats_are_stages(StageMap::round_robin) && seats_are_stages(StageMap::v_shape));
static_assert(OneFOneB::make(4, 1).seat(3) == Seat{3, 0});
static_assert(Interleaved::make(4, 8, 2).seat(4) == Seat{0, 1});
static_assert(ZbV::make(4, 8).seat(4) == Seat{3, 1});
static_assert(ZbV::make(4, 8).stage(0, 1) == 7);

}  // namespace

TEST_CASE("1F1B is what the field draws, for four ranks and six microbatches") {
  auto const s = OneFOneB::make(4, 6);
  CHECK(line(s.actions[0]) == "F0.0 F1.0 F2.0 F3.0 B0.0 F4.0 B1.0 F5.0 B2.0 B3.0 B4.0 B5.0");
  CHECK(line(s.actions[1]) == "F0.0 F1.0 F2.0 B0.0 F3.0 B1.0 F4.0 B2.0 F5.0 B3.0 B4.0 B5.0");
  CHECK(line(s.actions[2]) == "F0.0 F1.0 B0.0 F2.0 B1.0 F3.0 B2.0 F4.0 B3.0 F5.0 B4.0 B5.0");
  CHECK(line(s.actions[3]) == "F0.0 B0.0 F1.0 B1.0 F2.0 B2.0 F3.0 B3.0 F4.0 B4.0 F5.0 B5.0");
}

TEST_CASE("1F1B goes forward while a rank has room for another microbatch") {
  for (int p : {1, 2, 3, 4, 8})
    for (int m = 1; m <= 16; ++m) {
      auto const s = OneFOneB::make(p, m);
      for (int r = 0; r < p; ++r) CHECK(s.actions[r] == by_room(p - r, m));
    }
}

TEST_CASE("1F1B keeps the order of the original, phase by phase") {
  for (int p : {1, 2, 3, 4, 8})
    for (int m = 1; m <= 16; ++m) {
      auto const s = OneFOneB::make(p, m);
      REQUIRE(s.ranks() == p);
      for (int r = 0; r < p; ++r) CHECK(s.actions[r] == by_phases(std::min(p - r - 1, m), m));
    }
}

TEST_CASE("Interleaving is what one draws for two ranks, four microbatches and two chunks") {
  auto const s = Interleaved::make(2, 4, 2);
  CHECK(line(s.actions[0]) ==
        "F0.0 F1.0 F0.1 F1.1 F2.0 B0.1 F3.0 B1.1 F2.1 B0.0 F3.1 B1.0 B2.1 B3.1 B2.0 B3.0");
  CHECK(line(s.actions[1]) ==
        "F0.0 F1.0 F0.1 B0.1 F1.1 B1.1 F2.0 B0.0 F3.0 B1.0 F2.1 B2.1 F3.1 B3.1 B2.0 B3.0");
}

TEST_CASE(
    "Interleaving is what the field draws, for four ranks, eight microbatches and two chunks") {
  auto const s = Interleaved::make(4, 8, 2);
  CHECK(line(s.actions[0]) ==
        "F0.0 F1.0 F2.0 F3.0 F0.1 F1.1 F2.1 F3.1 F4.0 F5.0 "
        "F6.0 B0.1 F7.0 B1.1 F4.1 B2.1 F5.1 B3.1 F6.1 B0.0 F7.1 B1.0 "
        "B2.0 B3.0 B4.1 B5.1 B6.1 B7.1 B4.0 B5.0 B6.0 B7.0");
  CHECK(line(s.actions[3]) ==
        "F0.0 F1.0 F2.0 F3.0 "
        "F0.1 B0.1 F1.1 B1.1 F2.1 B2.1 F3.1 B3.1 F4.0 B0.0 F5.0 B1.0 "
        "F6.0 B2.0 F7.0 B3.0 F4.1 B4.1 F5.1 B5.1 F6.1 B6.1 F7.1 B7.1 "
        "B4.0 B5.0 B6.0 B7.0");
}

TEST_CASE("Interleaving keeps the order of the original, step by step, wherever that accepts m") {
  for (int p : {1, 2, 3, 4, 8})
    for (int m = p; m <= 16; m += p)
      for (int v : {2, 3, 4}) {
        REQUIRE(check_numbers<Interleaved>(p, m, v));
        auto const s = Interleaved::make(p, m, v);
        REQUIRE(s.ranks() == p);
        for (int r = 0; r < p; ++r) CHECK(s.actions[r] == by_steps(p, m, v, r));
      }
}

TEST_CASE("With as many microbatches as ranks, interleaving does all forward passes first") {
  auto const s = Interleaved::make(2, 2, 2);
  for (auto const& actions : s.actions)
    CHECK(line(actions) == "F0.0 F1.0 F0.1 F1.1 B0.1 B1.1 B0.0 B1.0");
}

TEST_CASE("Groups of three among five microbatches are one of three and one of two") {
  auto const s = InterleavedIn<3>::make(2, 5, 2);
  std::vector<Action> forward, backward;
  for (auto const& a : s.actions[1]) (a.kind == Pass::forward ? forward : backward).push_back(a);
  CHECK(line(forward) == "F0.0 F1.0 F2.0 F0.1 F1.1 F2.1 F3.0 F4.0 F3.1 F4.1");
  CHECK(line(backward) == "B0.1 B1.1 B2.1 B0.0 B1.0 B2.0 B3.1 B4.1 B3.0 B4.0");
  CHECK(s.actions == Interleaved::make(2, 5, 2).actions);  // 2 leaves 1, so 3 is the smallest
}

TEST_CASE("ZB-H1 does the weights r microbatches later") {
  auto const s = ZbH1::make(3, 4);
  CHECK(line(s.actions[0]) == "F0.0 F1.0 F2.0 I0.0 W0.0 F3.0 I1.0 W1.0 I2.0 W2.0 I3.0 W3.0");
  CHECK(line(s.actions[1]) == "F0.0 F1.0 I0.0 F2.0 I1.0 W0.0 F3.0 I2.0 W1.0 I3.0 W2.0 W3.0");
  CHECK(line(s.actions[2]) == "F0.0 I0.0 F1.0 I1.0 F2.0 I2.0 W0.0 F3.0 I3.0 W1.0 W2.0 W3.0");
}

TEST_CASE("ZB-V turns at the last rank and ends at the first") {
  auto const s = ZbV::make(2, 3);
  CHECK(line(s.actions[0]) ==
        "F0.0 F1.0 F2.0 F0.1 I0.1 W0.1 F1.1 I1.1 W1.1 I0.0 W0.0 F2.1 I2.1 W2.1 I1.0 W1.0 I2.0 "
        "W2.0");
  CHECK(line(s.actions[1]) ==
        "F0.0 F0.1 F1.0 F1.1 I0.1 W0.1 F2.0 I0.0 W0.0 F2.1 I1.1 W1.1 I1.0 I2.1 I2.0 W1.0 W2.1 "
        "W2.0");
}

TEST_CASE("Evaluation has the forward passes of any number of microbatches") {
  auto const s = ForwardOnly<Interleaved>::make(2, 1, 2);
  CHECK(s.purpose == Purpose::evaluation);
  for (auto const& actions : s.actions) CHECK(line(actions) == "F0.0 F0.1");
  CHECK(ForwardOnly<ZbV>::make(4, 8, 2).map == StageMap::v_shape);
  CHECK(check_numbers<ForwardOnly<Interleaved>>(4, 1, 2));
  CHECK_FALSE(check_numbers<ForwardOnly<Interleaved>>(4, 1, 1));
}

TEST_CASE("Each kind says which numbers it is for") {
  CHECK(check_numbers<GPipe>(4, 1, 1));
  CHECK(check_numbers<OneAtATime>(4, 1, 9));
  CHECK(check_numbers<OneFOneB>(4, 8, 2) == Verdict{Rule::schedule_must_suit_its_chunks, 2, 1});
  CHECK(check_numbers<ZbV>(4, 8, 1) == Verdict{Rule::schedule_must_suit_its_chunks, 1, 2});
  CHECK(check_numbers<Interleaved>(4, 8, 1) == Verdict{Rule::schedule_must_suit_its_chunks, 1, 2});
  CHECK(check_numbers<Interleaved>(4, 3, 2) ==
        Verdict{Rule::microbatches_must_fill_the_pipeline, 3, 4});
  CHECK(check_numbers<InterleavedIn<4>>(4, 6, 2) ==
        Verdict{Rule::microbatch_groups_must_fill_the_pipeline, 2, 4});
  CHECK(check_numbers<InterleavedIn<3>>(4, 6, 2) ==
        Verdict{Rule::microbatch_groups_must_fill_the_pipeline, 3, 4});
  CHECK(check_numbers<InterleavedIn<9>>(4, 8, 2) ==
        Verdict{Rule::microbatches_must_fill_the_pipeline, 8, 9});
  CHECK(check_numbers<GPipe>(0, 8, 1) == Verdict{Rule::pipeline_numbers_must_be_positive, 0, 1});
  CHECK(check_numbers<GPipe>(1 << 20, 1 << 20, 1).broken ==
        Rule::pipeline_messages_must_fit_their_tags);
}

TEST_CASE("No two messages of a schedule have the same tag") {
  auto const s = ZbV::make(3, 5);
  std::set<int> seen;
  for (auto const kind : {Pass::forward, Pass::input_gradient})
    for (int stage = 0; stage < s.stages(); ++stage)
      for (int k = 0; k < s.microbatches; ++k) {
        auto const t = tag(s, kind, stage, k);
        CHECK(t >= 0);
        CHECK(t < tags(s));
        CHECK(seen.insert(t).second);
      }
  CHECK(tag(s, Pass::backward, 2, 1) == tag(s, Pass::input_gradient, 2, 1));
}

TEST_CASE("Kinds are found by their names") {
  for (auto const name : {"gpipe", "1f1b", "interleaved", "zb-h1", "zb-v"}) {
    std::string_view found;
    with_schedule(name, [&](auto kind) { found = decltype(kind)::name; });
    CHECK(found == name);
  }
  CHECK_THROWS_WITH_AS(
      with_schedule("2f2b", [](auto) {}),
      "'2f2b' is no kind of schedule; there are gpipe, 1f1b, interleaved, zb-h1, zb-v",
      ConfigError);
}
