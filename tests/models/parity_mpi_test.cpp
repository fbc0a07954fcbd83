// SPDX-License-Identifier: Apache-2.0
#include <nxd/comm/threads.hpp>
#include <nxd/tensor/xtensor.hpp>

#include "mpi_main.hpp"
#include "small_llama.hpp"

using namespace nxd;
using namespace nxd::test;

namespace {

/// Trains over MPI and over threads: every rank ends with the same losses, norms and weights, bit
/// for bit, whenever the sums of gradients and the gathers of weights begin, and whatever is made
/// beside the sums over tensor-parallel ranks.
template <class Region, class Strategy> void compare_transports(test::Job const& numbers) {
  auto& comm = test::world();
  for (std::int64_t const tp : {1, 2, 4}) {
    if (comm.size() % tp != 0) continue;
    auto job = numbers;
    job.dp = comm.size() / tp, job.tp = tp, job.tied = tp == 2;
    CAPTURE(job.dp);
    CAPTURE(job.tp);
    std::vector<Outcome> expected(static_cast<std::size_t>(comm.size()));
    Threads::run(comm.size(), [&](Threads::Rank rank) {
      expected[static_cast<std::size_t>(rank.rank())] =
          train_small<Region, Strategy, Xt>(rank, job);
    });
    using enum Overlap;
    for (auto const overlaps : {Overlaps{between_nodes, between_nodes},
                                {always, never},
                                {never, always},
                                {always, always}}) {
      job.overlaps = overlaps;
      job.tensor = overlaps.sums;
      bool const same = train_small<Region, Strategy, Xt>(comm, job) ==
                        expected[static_cast<std::size_t>(comm.rank())];
      CHECK(same);
    }
  }
}

}  // namespace

TEST_CASE("MPI trains as threads do, bit for bit: activations duplicated, state replicated") {
  compare_transports<Duplicated, Replicated<AdamW>>({.accumulate = 2, .steps = 10});
}
TEST_CASE("MPI trains as threads do, bit for bit: sequence parallel, ZeRO-1") {
  compare_transports<SequenceParallel<Seq>, Zero1<AdamW>>({.accumulate = 2, .steps = 10});
}
TEST_CASE("MPI trains as threads do, bit for bit: rows of products travel while others are made") {
  test::Job const wide{.global_batch = 4, .seq = 384, .steps = 1, .wide = true};
  compare_transports<Duplicated, Replicated<AdamW>>(wide);
  compare_transports<SequenceParallel<Seq>, Zero1<AdamW>>(wide);
}

int main(int argc, char** argv) { return nxd::test::run_under_mpi(argc, argv); }
