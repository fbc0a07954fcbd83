// SPDX-License-Identifier: Apache-2.0
#include <nxd/tensor/xtensor.hpp>

#include "mpi_main.hpp"
#include "scaling_stages.hpp"

using namespace nxd;
using namespace nxd::test;

TEST_CASE("Every schedule passes on messages of 64 MB, none of them lost, swapped or torn") {
  auto& comm = test::world();
  for_every_schedule([&]<class K>(int chunks) {
    CAPTURE(name_of<K>());
    auto const place = static_cast<int>(comm.rank());
    auto const schedule = make_proved<K>(comm.size(), 6, chunks);
    World<ScalingPlan, Xt, Mpi> world({{"width", 16 << 20}}, comm);
    ScalingStages const stages(world, schedule, place);
    PipelineExecutor executor(world, schedule, all_ranks(comm), stages);
    auto const loss = executor.run();
    CHECK(stages.mistakes == 0);
    CHECK(stages.has_right_gradients(place));
    if (schedule.seat(schedule.stages() - 1).rank == place)
      CHECK(loss == stages.loss(stages.width(), schedule.stages(), schedule.microbatches));
  });
}

int main(int argc, char** argv) { return nxd::test::run_under_mpi(argc, argv); }
