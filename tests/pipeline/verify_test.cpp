// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include <doctest/doctest.h>

#include <nxd/pipeline/kinds.hpp>

using namespace nxd;

namespace {

// The compiler runs schedules on paper.
static_assert(proved<GPipe, 4, 8> && proved<OneFOneB, 4, 8> && proved<OneFOneB, 4, 2>);
static_assert(proved<Interleaved, 4, 8, 2> && proved<Interleaved, 2, 5, 3>);
static_assert(proved<ZbH1, 4, 8> && proved<ZbV, 4, 8, 2> && proved<ForwardOnly<ZbV>, 4, 3, 2>);
static_assert(!proved<Interleaved, 4, 3, 2> && !proved<ZbV, 4, 8>);
static_assert(prove<OneFOneB>(4, 8, 1, Channel::rendezvous) ==
              Fault{{Rule::schedule_must_not_deadlock, 0, 3}, {Pass::forward, 3, 0}});
static_assert(verify(OneFOneB::make(4, 8)).makespan == 33);
static_assert(verify(OneFOneB::make(4, 8)).live == std::vector{4, 3, 2, 1});
static_assert(is_proved_early(8, 32, 4) && !is_proved_early(16, 512, 4));

template <class K, class Check> void everywhere(Check check) {
  for (int p = 1; p <= 8; ++p)
    for (int m = 1; m <= 32; ++m)
      for (int v = 1; v <= 4; ++v) {
        if (!check_numbers<K>(p, m, v)) continue;
        CAPTURE(p);
        CAPTURE(m);
        CAPTURE(v);
        auto const s = K::make(p, m, v);
        REQUIRE(verify(s, Channel::buffered));
        auto const proof = verify(s);
        REQUIRE_MESSAGE(proof, sentence(proof));
        check(p, m, v, proof);
      }
}

bool near(double a, double b) { return std::abs(a - b) < 1e-9; }

/// The bubble in tenths of a per cent.
template <class K> long tenths(int p, int m, int v, Times times) {
  auto const s = K::make(p, m, v);
  auto const posted = verify(s, Channel::posted, times);
  CHECK(near(posted.bubble(), verify(s, Channel::buffered, times).bubble()));
  return std::lround(1000 * posted.bubble());
}

struct Bubbles {
  long one_f_one_b, interleaved_2, interleaved_4, zb_h1, zb_v;
  bool operator==(Bubbles const&) const = default;
};

Bubbles bubbles(int p, int m, Times t) {
  return {tenths<OneFOneB>(p, m, 1, t), tenths<Interleaved>(p, m, 2, t),
          tenths<Interleaved>(p, m, 4, t), tenths<ZbH1>(p, m, 1, t), tenths<ZbV>(p, m, 2, t)};
}

std::string fault_of(Schedule const& s, Channel channel = Channel::posted) {
  auto const proof = verify(s, channel);
  CHECK(proof.fault == find_fault(s, channel));
  CHECK_FALSE(proof);
  return sentence(proof);
}

Action* find(Schedule& s, int rank, Action const& a) {
  auto const found = std::ranges::find(s.actions[rank], a);
  REQUIRE(found != s.actions[rank].end());
  return &*found;
}

void swap(Schedule& s, int rank, Action const& a, Action const& b) {
  std::swap(*find(s, rank, a), *find(s, rank, b));
}

Action F(int k, int c = 0) { return {Pass::forward, k, c}; }
Action B(int k, int c = 0) { return {Pass::backward, k, c}; }
Action I(int k, int c = 0) { return {Pass::input_gradient, k, c}; }
Action W(int k, int c = 0) { return {Pass::weight_gradient, k, c}; }

}  // namespace

TEST_CASE("GPipe takes (m + p - 1) passes and keeps everything") {
  everywhere<GPipe>([](int p, int m, int, Proof const& proof) {
    CHECK(proof.makespan == 3 * (m + p - 1));
    CHECK(near(proof.bubble(), (p - 1.) / (m + p - 1)));
    for (int r = 0; r < p; ++r) CHECK(proof.live[r] == m);
  });
}

TEST_CASE("1F1B takes as long as GPipe and keeps p - r microbatches") {
  everywhere<OneFOneB>([](int p, int m, int, Proof const& proof) {
    CHECK(proof.makespan == 3 * (m + p - 1));
    for (int r = 0; r < p; ++r) CHECK(proof.live[r] == std::min(m, p - r));
  });
  auto const uneven = verify(OneFOneB::make(5, 11), Channel::posted, {1, 1.3, .7});
  CHECK(near(uneven.makespan, 3 * (11 + 5 - 1)));
}

TEST_CASE("Interleaving makes the bubble v times shorter") {
  everywhere<Interleaved>([](int p, int m, int v, Proof const& proof) {
    int const group = detail::smallest_group(p, m);
    if (group == p) CHECK(near(proof.makespan, 3 * m + 3. * (p - 1) / v));
    for (int r = 0; r < p; ++r) {
      int const formula = std::min(m * v, 2 * (p - 1 - r) + (v - 1) * group + 1);
      CHECK(proof.live[r] == (m == p ? m * v : formula));
    }
  });
}

TEST_CASE("Interleaving in groups of p takes turns even where m is p") {
  everywhere<InterleavedIn<4>>([](int p, int m, int v, Proof const& proof) {
    if (p == 4) CHECK(near(proof.makespan, 3 * m + 3. * (p - 1) / v));
    for (int r = 0; r < p; ++r)
      CHECK(proof.live[r] == std::min(m * v, 2 * (p - 1 - r) + (v - 1) * 4 + 1));
  });
  everywhere<InterleavedIn<11>>([](int, int, int, Proof const&) {});
}

TEST_CASE("ZB-H1 fills two thirds of the bubble and keeps p microbatches on every rank") {
  everywhere<ZbH1>([](int p, int m, int, Proof const& proof) {
    if (m >= p) CHECK(proof.makespan == 3 * m + (p - 1));
    for (int r = 0; r < p; ++r) CHECK(proof.live[r] == std::min(m, p));
  });
}

TEST_CASE("ZB-V leaves half a forward pass a rank, and no rank waits between its ends") {
  everywhere<ZbV>([](int p, int m, int, Proof const& proof) {
    for (int r = 0; r < p; ++r) CHECK(proof.live[r] <= std::min(2 * m, 2 * p));
    if (m < 2 * p - 1) return;
    CHECK(proof.makespan == 3 * m + (p - 1) / 2.);
    for (int r = 0; r < p; ++r) {
      CHECK(proof.live[r] == 2 * p);
      CHECK(proof.finish[r].back() - (proof.finish[r].front() - .5) == 3 * m);
    }
  });
}

TEST_CASE("Evaluation has the bubble of a forward pass, whatever m is") {
  everywhere<ForwardOnly<OneFOneB>>([](int p, int m, int, Proof const& proof) {
    CHECK(proof.makespan == m + p - 1);
    CHECK(proof.work == m);
    CHECK(proof.live == std::vector<int>(p, 1));
  });
  everywhere<ForwardOnly<Interleaved>>([](int p, int m, int v, Proof const& proof) {
    if (m % p == 0) CHECK(near(proof.makespan, m + (p - 1.) / v));
  });
  everywhere<ForwardOnly<ZbV>>(
      [](int p, int m, int, Proof const& proof) { CHECK(proof.makespan == m + p - 1); });
}

TEST_CASE("The bubbles of all schedules are those of the table") {
  CHECK(bubbles(4, 8, {}) == Bubbles{273, 158, 86, 111, 59});
  CHECK(bubbles(4, 16, {}) == Bubbles{158, 86, 45, 59, 30});
  CHECK(bubbles(8, 16, {}) == Bubbles{304, 179, 99, 127, 68});
  CHECK(bubbles(8, 32, {}) == Bubbles{179, 99, 52, 68, 35});
  CHECK(bubbles(4, 8, {1, 1.3, .7, .05}) == Bubbles{290, 178, 135, 184, 98});
  CHECK(bubbles(8, 32, {1, 1.3, .7, .05}) == Bubbles{203, 111, 80, 116, 61});
  CHECK(bubbles(4, 16, {1, 2, 1, .05}) == Bubbles{173, 95, 66, 93, 56});
}

TEST_CASE("Without buffers, receiving, computing and sending in turn hangs all but GPipe") {
  CHECK(verify(GPipe::make(4, 8), Channel::rendezvous));
  CHECK(fault_of(OneFOneB::make(2, 4), Channel::rendezvous) ==
        "rank 0 waits for ever at F1.0: its output is not taken by rank 1, which waits at B0.0: "
        "its output is not taken by rank 0, which is where this began");
  for (auto const& s : {Interleaved::make(4, 8), ZbH1::make(4, 8), ZbV::make(4, 8)}) {
    auto const proof = verify(s, Channel::rendezvous);
    CHECK(proof.fault.verdict.broken == Rule::schedule_must_not_deadlock);
    CHECK(proof.waits.size() >= 2);
    CHECK(proof.makespan == 0);
  }
}

TEST_CASE("Large groups need the send buffers that their schedule asks for") {
  auto s = InterleavedIn<8>::make(2, 8, 2);
  CHECK(s.send_buffers == 8);
  CHECK(verify(s));
  s.send_buffers = 2;
  CHECK(fault_of(s) ==
        "rank 0 waits for ever at F6.0: its earlier outputs are not yet asked for by rank 1, which "
        "waits at F2.0: its earlier outputs are not yet asked for by rank 0, which is where this "
        "began");
  s.send_buffers = 0;
  CHECK(verify(s).fault.verdict.broken == Rule::pipeline_numbers_must_be_positive);
}

TEST_CASE("A dropped action is missed") {
  auto s = OneFOneB::make(4, 8);
  std::erase(s.actions[2], B(3));
  CHECK(fault_of(s) == "rank 2 never does B3.0");
  s = ZbH1::make(4, 8);
  std::erase(s.actions[1], W(7));
  CHECK(fault_of(s) == "rank 1 never does W7.0");
  s = ZbV::make(4, 8);
  std::erase(s.actions[1], I(7, 1));
  CHECK(fault_of(s) == "rank 1 never does I7.1");
  s = Interleaved::make(4, 8);
  s.actions[3].clear();
  CHECK(fault_of(s) == "rank 3 never does F0.0");
  CHECK(verify(s).fault ==
        Fault{{Rule::every_microbatch_must_visit_every_stage_once, 3, -1}, F(0)});
  s.actions.clear();
  CHECK(verify(s).fault.verdict.broken == Rule::pipeline_numbers_must_be_positive);
}

TEST_CASE("An action that is there twice, or has no place, is refused") {
  auto s = OneFOneB::make(4, 8);
  s.actions[1].push_back(B(7));
  CHECK(fault_of(s) == "rank 1 does B7.0 twice");
  s.actions[1].back() = W(7);
  CHECK(fault_of(s) == "rank 1 does W7.0 twice");
  s.actions[1].back() = F(8);
  CHECK(fault_of(s) == "rank 1 does F8.0, which this schedule has no place for");
  s.actions[1].back() = F(0, 1);
  CHECK(fault_of(s) == "rank 1 does F0.1, which this schedule has no place for");
  s = ForwardOnly<OneFOneB>::make(4, 8, 1);
  s.actions[0].push_back(B(0));
  CHECK(fault_of(s) == "rank 0 does B0.0, which this schedule has no place for");
}

TEST_CASE("Swapped microbatches are refused, forward and backward") {
  auto s = GPipe::make(4, 8);
  swap(s, 2, F(3), F(5));
  CHECK(fault_of(s) ==
        "rank 2 does F4.0 too early or too late: each pass of a chunk takes the "
        "microbatches in their order");
  s = GPipe::make(4, 8);
  swap(s, 2, B(3), B(4));
  CHECK(verify(s).fault == Fault{{Rule::microbatches_must_keep_their_order, 2, 11}, B(4)});
  s = ZbH1::make(4, 8);
  swap(s, 3, W(6), W(7));
  CHECK(verify(s).fault.verdict.broken == Rule::microbatches_must_keep_their_order);
}

TEST_CASE("A gradient before its forward pass is refused, and weights before inputs") {
  auto s = OneFOneB::make(4, 8);
  swap(s, 3, F(0), B(0));
  CHECK(fault_of(s) == "rank 3 does B0.0 before F0.0");
  s = ZbH1::make(4, 8);
  swap(s, 0, I(0), W(0));
  CHECK(fault_of(s) == "rank 0 does W0.0 before I0.0");
}

TEST_CASE("A wrong order of chunks hangs") {
  auto s = Interleaved::make(2, 4);
  for (int k : {0, 1}) swap(s, 0, F(k, 0), F(k, 1));
  CHECK(fault_of(s) ==
        "rank 0 waits for ever at F0.1: its input comes from rank 1, which waits at F0.0: its "
        "input comes from rank 0, which is where this began");
  auto v = ZbV::make(3, 5);
  swap(v, 2, F(0, 0), F(0, 1));
  CHECK(verify(v).waits.back().rank == verify(v).waits.back().on);
  CHECK(
      fault_of(v) ==
      "rank 0 waits for ever at F0.1: its input comes from rank 1, which waits at F0.1: its input "
      "comes from rank 2, which waits at F0.1: its input comes from its own F0.0, which is later");
}

TEST_CASE("A gradient that is asked for too early hangs, under every model of the channels") {
  auto s = OneFOneB::make(4, 8);
  s.actions[3] = {F(0), F(1), F(2), B(0)};
  for (int k = 3; k < 8; ++k) s.actions[3].push_back(F(k));
  for (int k = 1; k < 8; ++k) s.actions[3].push_back(B(k));
  for (auto const channel : {Channel::buffered, Channel::rendezvous, Channel::posted})
    CHECK_FALSE(verify(s, channel));
  CHECK(fault_of(s, Channel::buffered) ==
        "rank 0 waits for ever at B0.0: its gradient comes from rank 1, which waits at B0.0: its "
        "gradient comes from rank 2, which waits at B0.0: its gradient comes from rank 3, which "
        "waits at F2.0: its input comes from rank 2, which is where this began");
}

TEST_CASE("A pipeline that cannot run does not start") {
  struct TwoRanks {
    static Schedule make(int, int microbatches, int) { return OneFOneB::make(2, microbatches); }
  };
  CHECK(prove<TwoRanks>(4, 8, 1).verdict ==
        Verdict{Rule::schedule_must_have_the_size_asked_for, 2, 4});
  CHECK_THROWS_AS(make_proved<TwoRanks>(4, 8, 1), PlanError);
  CHECK(make_proved<ZbV>(4, 8, 2).actions == ZbV::make(4, 8).actions);
  CHECK_THROWS_AS(make_proved<Interleaved>(4, 3, 2), PlanError);
  CHECK_THROWS_WITH_AS(
      make_proved<OneFOneB>(2, 4, 1, Channel::rendezvous),
      "1f1b: rank 0 waits for ever at F1.0: its output is not taken by rank 1, which waits at "
      "B0.0: its output is not taken by rank 0, which is where this began",
      ConfigError);
}
