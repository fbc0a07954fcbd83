// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <nxd/checkpoint/async_save.hpp>
#include <nxd/checkpoint/load.hpp>
#include <nxd/checkpoint/snapshot.hpp>

#include "layouts.hpp"

using namespace nxd;
using namespace nxd::test;

namespace {

/// Steps of a run, saved in the background when half of them are done; or the second half of one,
/// from what was saved.
enum class Stretch { whole, second_half };

Outcome run(Placed const& placed, std::string const& path, std::int64_t steps, Stretch stretch) {
  std::vector<Outcome> ranks(static_cast<std::size_t>(placed.job.ranks()));
  on_layout(placed, [&](auto comm, auto& world, auto const& model, auto& optimizer) {
    using B = typename std::remove_reference_t<decltype(world)>::backend;
    auto const& job = placed.job;
    PosixStorage storage(path);
    initialize(model, stretch == Stretch::whole ? 5 : 6);
    auto const middle = steps / 2;
    auto first = std::int64_t{0};
    if (stretch == Stretch::second_half) {
      auto const loaded = resume(comm, storage, training_pieces(model, optimizer, Holding::all));
      first = loaded.value().manifest.step;
      optimizer.set_steps(first);
      if (first != middle) throw std::logic_error("another step");
    }
    auto const saved = training_pieces(model, optimizer, Holding::shared);
    Snapshot<B> snapshot(total_bytes(saved));
    AsyncSave<PosixStorage> save(storage);
    auto& outcome = ranks[static_cast<std::size_t>(comm.rank())];
    auto const place = line<DP>(world.plan, world.rank()).place;
    for (auto step = first; step < steps; ++step) {
      save.poll(comm);
      if (step == middle && stretch == Stretch::whole) {
        SaveRequest request;
        request.step = middle;
        request.pieces = snapshot.copy(saved);
        request.state = "{}";
        save.begin(comm, std::move(request));
      }
      auto const batches = microbatches(job.data(), step, place, job.model().vocab_size);
      auto const report =
          train_step(world, model, optimizer, std::span<Microbatch const>(batches), 3e-3);
      if (step < middle) continue;
      outcome.losses.push_back(report.loss);
      outcome.norms.push_back(report.grad_norm);
    }
    save.wait(comm);
    keep_parameters<typename std::remove_reference_t<decltype(world)>::weight>(model, outcome);
  });
  return merged(ranks);
}

}  // namespace

TEST_CASE("in every layout and schedule a run that is resumed half-way ends with the same bits") {
  std::int64_t const steps = full() ? 100 : 6;
  for (bool const tied : {false, true})
    for (auto const& placed : layouts(tied)) {
      if (tied && !full() && placed.job.pp == 1) continue;
      CAPTURE(placed.name);
      CAPTURE(tied);
      Directory const folder;
      auto const whole = run(placed, folder.path + "/ckpt", steps, Stretch::whole);
      auto const rest = run(placed, folder.path + "/ckpt", steps, Stretch::second_half);
      CHECK(std::ssize(whole.losses) == steps - steps / 2);
      CHECK(whole.losses.front() > 0.5);
      bool const same = rest == whole;
      CHECK(same);
    }
}
