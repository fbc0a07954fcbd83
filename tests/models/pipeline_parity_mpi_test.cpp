// SPDX-License-Identifier: Apache-2.0
#include <nxd/tensor/xtensor.hpp>

#include "mpi_main.hpp"
#include "pipelined_llama.hpp"

using namespace nxd;
using namespace nxd::test;

namespace {

/// A layout for this many ranks leaves every rank with what one rank has there, which each of them
/// finds out alone. One for another number of ranks is passed over.
template <class Region, class Strategy> void check_parity(PipelineJob const& job) {
  if (job.ranks() != test::world().size()) return;
  CAPTURE(job.kind);
  CAPTURE(job.pp);
  CAPTURE(job.tp);
  CAPTURE(job.dp);
  auto const mine = train_pipelined<Region, Strategy, Xt>(test::world(), job);
  auto const d = distance(train_deep<Duplicated, Zero1<AdamW>, Xt>(Single{}, job.whole()), mine);
  CHECK(mine.losses.size() == 21);
  CHECK(d.loss < 2e-6);
  CHECK(d.norm < 2e-5);
  if (!mine.parameters.empty()) CHECK(d.parameters < 1e-5);
}

}  // namespace

TEST_CASE("Every schedule trains over MPI as one rank does: 20 steps, ZeRO-1") {
  using Strategy = Zero1<AdamW>;
  check_parity<Duplicated, Strategy>({.kind = "interleaved", .pp = 1, .chunks = 2});
  check_parity<Duplicated, Strategy>({.kind = "gpipe", .pp = 2, .recompute = Recompute::full});
  check_parity<Duplicated, Strategy>(
      {.kind = "interleaved", .pp = 2, .chunks = 2, .recompute = Recompute::selective});
  check_parity<Duplicated, Strategy>({.kind = "zb-v", .pp = 2, .chunks = 2, .tied = true});
  check_parity<Duplicated, Strategy>({.kind = "zb-h1", .pp = 4});
  check_parity<Duplicated, Strategy>({.kind = "1f1b", .pp = 4, .tied = true});
  check_parity<Duplicated, Strategy>({.kind = "interleaved", .pp = 4, .chunks = 2});
  check_parity<Duplicated, Strategy>({.kind = "zb-v", .pp = 2, .dp = 2, .chunks = 2});
}

TEST_CASE("So it does with sequence parallelism in the stages, state replicated") {
  check_parity<SequenceParallel<Seq>, Replicated<AdamW>>({.kind = "1f1b", .pp = 2, .tp = 2});
  check_parity<SequenceParallel<Seq>, Replicated<AdamW>>(
      {.kind = "zb-v", .pp = 2, .tp = 2, .chunks = 2, .tied = true});
}

int main(int argc, char** argv) { return nxd::test::run_under_mpi(argc, argv); }
