// SPDX-License-Identifier: Apache-2.0
//
// What does it cost to watch over a run? Times a training step of a Llama of 15 M parameters with
// and without what watches over it, in turn, in one run: the record of every exchange, the
// agreement before the update, and the watchdog; and by itself the comparison of replicas, which is
// part of a step every 100 steps.
//
//   mpirun -np N watch [TURNS]        N: 1 rank, or 2 of them, tensor parallel; threads:
//   OMP_NUM_THREADS

#include <cstdio>
#include <cstdlib>
#include <vector>

#include <nxd/comm/guard.hpp>
#include <nxd/comm/recorder.hpp>
#include <nxd/models/llama.hpp>
#include <nxd/models/llama_plan.hpp>
#include <nxd/tensor/xtensor.hpp>
#include <nxd/train/replicas.hpp>
#include <nxd/train/run_watch.hpp>
#include <nxd/train/step.hpp>

#include "llamas.hpp"
#include "measure.hpp"

using namespace nxd;

int main(int argc, char** argv) {
  return guard_main(argc, argv, [&](Mpi mpi) {
    int const turns = argc > 1 ? std::atoi(argv[1]) : 40;
    TrainingConfig settings;
    settings.data.global_batch_size = 4;
    settings.exp_manager.create_preemption_callback = false;
    RunWatch<Mpi> watch(mpi, settings, ".", mpi.size());
    auto const config = bench::llama_15m();
    LlamaLayout const layout{
        .tensor_parallel = mpi.size(), .micro_batch = 4, .seq_length = 256, .kv_copies = 1};
    World<LlamaPlan, Xt, Recorder<Mpi>> world(make_plan(config, layout), Recorder(mpi));
    Llama<Duplicated, decltype(world)> const model(world, config);
    initialize(model, 1);
    Optimizer<Replicated<AdamW>, decltype(world)> optimizer(world, model, {});
    Microbatch batch;
    for (std::int64_t i = 0; i < layout.micro_batch * layout.seq_length; ++i) {
      batch.ids.push_back(static_cast<std::int32_t>(i * 7919 % 32000));
      batch.labels.push_back(static_cast<std::int32_t>((i + 1) * 7919 % 32000));
    }
    std::vector<Microbatch> const batches{batch};
    std::int64_t number = 0;
    auto const step = [&](bool watched) {
      world.whereabouts = watched ? &this_process() : nullptr;
      world.comm.tell(watched ? &watch.attendance() : nullptr);
      if (watched) this_process().step(number);
      if (watched) watch.begin_step(++number);
      train_step(world, model, optimizer, std::span<Microbatch const>(batches), 1e-4,
                 [&](StepReport const& r) { return watched ? watch.takes(r) : r.finite(); });
      if (!watched) watch.begin(Phase::none);
    };
    auto const cost = bench::compare([&] { step(true); }, [&] { step(false); }, turns);
    double compared = 1e9, entered = 1e9, agreed = 1e9;
    Rendezvous const r{Exchange::barrier, 0, {0, 1, mpi.size(), mpi.rank()}, 0};
    for (int i = 0; i < 20; ++i) {
      mpi.barrier();
      compared =
          std::min(compared, bench::seconds([&] { check_replicas(mpi, world, model, optimizer); }));
      entered = std::min(entered, bench::seconds([&] {
                           for (int n = 0; n < 1000; ++n) watch.attendance().enter(r);
                         }));
      mpi.barrier();
      agreed = std::min(agreed, bench::seconds([&] {
                          for (int n = 0; n < 100; ++n) watch.takes({1, 1});
                        }));
    }
    world.comm.clear();
    double fastest = 1e9;
    for (int i = 0; i < 3; ++i) fastest = std::min(fastest, bench::seconds([&] { step(false); }));
    auto const calls = static_cast<double>(world.comm.total().calls) / 3;
    auto const direct = calls * entered / 1e3 + agreed / 100 + compared / 100;
    if (mpi.rank() == 0)
      std::printf(
          "%d ranks: a step takes %.2f ms, watched %.2f ms: ratio %.4f (%.4f to %.4f)\n"
          "by its parts: %.0f exchanges of %.0f ns more, an agreement of %.1f us, every 100 steps a "
          "comparison of replicas of %.2f ms: %.4f %% of the fastest step, %.1f ms\n",
          static_cast<int>(mpi.size()), cost.theirs * 1e3, cost.ours * 1e3, cost.ratio, cost.lowest,
          cost.highest, calls, entered * 1e6, agreed * 1e4, compared * 1e3, 100 * direct / fastest,
          fastest * 1e3);
    return 0;
  });
}
