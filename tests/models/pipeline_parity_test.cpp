// SPDX-License-Identifier: Apache-2.0
#include <set>

#include <doctest/doctest.h>

#include <nxd/comm/threads.hpp>
#include <nxd/tensor/xtensor.hpp>

#include "pipelined_llama.hpp"

using namespace nxd;
using namespace nxd::test;

namespace {

template <class Region, class Strategy> Outcome on_threads(PipelineJob const& job) {
  std::vector<Outcome> ranks(static_cast<std::size_t>(job.ranks()));
  Threads::run(job.ranks(), [&](Threads::Rank rank) {
    ranks[static_cast<std::size_t>(rank.rank())] = train_pipelined<Region, Strategy, Xt>(rank, job);
  });
  return merged(ranks);
}

Outcome one_rank(PipelineJob const& job) {
  return train_deep<Duplicated, Zero1<AdamW>, Xt>(Single{}, job.whole());
}

constexpr auto none = Recompute::none, selective = Recompute::selective, full = Recompute::full;
enum State : bool { replicated, zero1 };
enum Head : bool { untied, tied };

/// A layout that trains: with two tensor-parallel ranks, activations are sequence parallel.
struct Case {
  PipelineJob job;
  State state;
};

/// Eight layers, and no stage without one: a pipeline of eight ranks with two chunks each needs
/// sixteen layers.
Case with(std::string kind, std::int64_t pp, std::int64_t tp, std::int64_t dp, State state,
          Recompute recompute, Head head) {
  std::int64_t const chunks = kind == "interleaved" || kind == "zb-v" ? 2 : 1;
  return {{.kind = std::move(kind),
           .pp = pp,
           .tp = tp,
           .dp = dp,
           .chunks = chunks,
           .tied = head == tied,
           .recompute = recompute,
           .layers = std::max<std::int64_t>(8, pp * chunks)},
          state};
}

// clang-format off
std::vector<Case> const cases{
    //   schedule       PP TP DP  state       recompute  head
    with("gpipe",       2, 1, 1, replicated, full,      untied),
    with("gpipe",       4, 2, 2, replicated, selective, tied),
    with("gpipe",       8, 2, 1, zero1,      none,      untied),
    with("1f1b",        2, 1, 1, zero1,      selective, tied),
    with("1f1b",        4, 2, 1, zero1,      none,      untied),
    with("1f1b",        8, 1, 2, replicated, full,      untied),
    with("interleaved", 2, 1, 1, replicated, none,      tied),
    with("interleaved", 4, 2, 1, zero1,      selective, untied),
    with("interleaved", 8, 1, 2, replicated, full,      tied),
    with("zb-h1",       2, 2, 2, zero1,      full,      untied),
    with("zb-h1",       4, 1, 1, replicated, selective, tied),
    with("zb-h1",       8, 1, 1, zero1,      none,      tied),
    with("zb-v",        2, 2, 2, replicated, none,      tied),
    with("zb-v",        4, 1, 1, zero1,      full,      tied),
    with("zb-v",        8, 1, 1, zero1,      selective, untied),
};
// clang-format on

/// Everything that tells a layout from others, in words.
std::vector<std::string> settings(Case const& c) {
  auto const& job = c.job;
  return {job.kind,
          "PP" + std::to_string(job.pp),
          "TP" + std::to_string(job.tp),
          "DP" + std::to_string(job.dp),
          c.state == zero1 ? "ZeRO-1" : "replicated",
          std::array{"none", "selective", "full"}[static_cast<std::size_t>(job.recompute)],
          job.tied ? "tied" : "untied"};
}

template <class Region, class Strategy> void check_parity(PipelineJob const& job) {
  auto const d = distance(on_threads<Region, Strategy>(job), one_rank(job));
  CHECK(d.loss < 2e-6);
  CHECK(d.norm < 2e-5);
  CHECK(d.parameters < 1e-5);
}

void check_parity(Case const& c) {
  std::string all;
  for (auto const& setting : settings(c)) all += setting + ' ';
  INFO(all);
  auto const with_region = [&]<class Region>() {
    return c.state == zero1 ? check_parity<Region, Zero1<AdamW>>(c.job)
                            : check_parity<Region, Replicated<AdamW>>(c.job);
  };
  return c.job.tp == 1 ? with_region.template operator()<Duplicated>()
                       : with_region.template operator()<SequenceParallel<Seq>>();
}

}  // namespace

TEST_CASE("Every pair of settings is in one of the layouts, none of which has more than 16 ranks") {
  std::vector<std::vector<std::string>> const choices{
      {"gpipe", "1f1b", "interleaved", "zb-h1", "zb-v"},
      {"PP2", "PP4", "PP8"},
      {"TP1", "TP2"},
      {"DP1", "DP2"},
      {"ZeRO-1", "replicated"},
      {"none", "selective", "full"},
      {"tied", "untied"}};
  std::set<std::pair<std::string, std::string>> there;
  for (auto const& c : cases) {
    CHECK(c.job.ranks() <= 16);
    auto const all = settings(c);
    for (auto const& a : all)
      for (auto const& b : all) there.emplace(a, b);
  }
  for (auto const& some : choices)
    for (auto const& others : choices)
      for (auto const& a : some)
        for (auto const& b : others) {
          if (&some == &others) continue;
          CAPTURE(a);
          CAPTURE(b);
          CHECK(there.contains({a, b}));
        }
}

TEST_CASE("Every layout trains as one rank") {
  for (auto const& c : cases) check_parity(c);
}

TEST_CASE("Fewer microbatches than there are ranks train as one rank") {
  for (auto const kind : {"gpipe", "1f1b", "zb-h1", "zb-v"}) {
    auto c = with(kind, 4, 1, 1, zero1, none, untied);
    c.job.microbatches = 3;
    c.job.global_batch = 12;
    check_parity(c);
  }
}

TEST_CASE("Schedules that keep the order of gradient sums give the bits of one rank") {
  for (auto const& job : {PipelineJob{.kind = "1f1b", .pp = 4},
                          {.kind = "gpipe", .pp = 2, .recompute = full},
                          {.kind = "interleaved", .pp = 2, .chunks = 2},
                          {.kind = "zb-h1", .pp = 4},
                          {.kind = "zb-v", .pp = 4, .chunks = 2}}) {
    CAPTURE(job.kind);
    auto pipelined = on_threads<Duplicated, Zero1<AdamW>>(job), whole = one_rank(job);
    CHECK(pipelined.losses == whole.losses);
    // A norm is summed stage by stage, and clips; beyond its last bits nothing differs.
    auto const d = distance(pipelined, whole);
    CHECK(d.norm < 1e-6);
  }
}
