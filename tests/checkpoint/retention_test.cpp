// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <nxd/checkpoint/retention.hpp>

#include "parts.hpp"

namespace {

using Entries = std::vector<std::string>;

/// A folder with a checkpoint of every tenth step to `last`, those in `sick` not finite.
struct Run {
  parts::Folder folder;
  nxd::PosixStorage storage{folder / "run"};
  std::vector<std::string> names;

  explicit Run(std::int64_t last, std::vector<std::int64_t> const& sick = {}) {
    nxd::Single comm;
    for (std::int64_t step = 10; step <= last; step += 10) {
      auto const held = parts::filled(parts::Split::rows, 0, 1, 0);
      auto request = parts::request(held, step);
      request.info.health.finite = std::ranges::find(sick, step) == sick.end();
      names.push_back(nxd::save(comm, storage, request).entry);
    }
  }

  /// The steps that are there, the newest first.
  std::vector<std::int64_t> steps() {
    std::vector<std::int64_t> all;
    for (auto const& entry : nxd::entries(storage)) all.push_back(nxd::entry_from(entry)->step);
    return all;
  }
};

using Steps = std::vector<std::int64_t>;

}  // namespace

TEST_CASE("the newest checkpoints stay, and the others leave nothing behind") {
  Run run(50);
  CHECK(nxd::prune(run.storage, {2}) == Entries{run.names[2], run.names[1], run.names[0]});
  CHECK(run.steps() == Steps{50, 40});
  for (auto const& found : run.storage.list("")) CHECK(!found.name.starts_with(".trash"));
  CHECK(nxd::prune(run.storage, {2}).empty());
  CHECK(nxd::prune(run.storage, {}).empty());
  nxd::Single comm;
  CHECK(nxd::load(comm, run.storage, run.names[4], {}).manifest.step == 50);
}

TEST_CASE("every n-th and pinned checkpoints stay besides") {
  Run run(70);
  nxd::prune(run.storage, {.newest = 1, .every = 30, .pinned = {run.names[0]}});
  CHECK(run.steps() == Steps{70, 60, 30, 10});
}

TEST_CASE("saves that are not finite push out none that is") {
  Run run(60, {40, 50, 60});
  nxd::prune(run.storage, {2});
  CHECK(run.steps() == Steps{30, 20});
}

TEST_CASE("what cannot be read, or is of another run, stays") {
  Run run(50);
  std::filesystem::resize_file(run.folder / ("run/" + run.names[0] + "/MANIFEST.json"), 20);
  auto const other = run.folder / ("run/" + run.names[1] + "/MANIFEST.json");
  CHECK(std::filesystem::exists(other));
  nxd::prune(run.storage, {1});
  CHECK(run.steps() == Steps{50, 10});
}

TEST_CASE("where bytes must be trusted, those that are not what was written neither count nor go") {
  Run run(50);
  for (auto const i : {4, 2}) {
    auto const path =
        run.folder / ("run/" + run.names[static_cast<std::size_t>(i)] + "/model/00000.safetensors");
    auto bytes = parts::read_file(path);
    bytes.back() = static_cast<char>(bytes.back() ^ 1);
    parts::write_file(path, bytes);
  }
  nxd::Retention const keep{.newest = 2, .trust = nxd::Trust::bytes};
  CHECK(nxd::dispensable(run.storage, keep) == Entries{run.names[0]});
  CHECK(run.steps().size() == 5);
  nxd::prune(run.storage, keep);
  CHECK(run.steps() == Steps{50, 40, 30, 20});
}

TEST_CASE("if none can be trusted, none goes") {
  Run run(30);
  for (auto const& entry : run.names)
    std::filesystem::resize_file(run.folder / ("run/" + entry + "/state.json"), 1);
  CHECK(nxd::dispensable(run.storage, {.newest = 1, .trust = nxd::Trust::bytes}).empty());
  CHECK(nxd::dispensable(run.storage, {.newest = 1}).empty());
}

TEST_CASE("an entry with a pin beside it stays, until the pin is taken away") {
  Run run(40);
  auto const pin = run.folder / ("run/" + run.names[1] + ".pin");
  parts::write_file(pin, "");
  nxd::prune(run.storage, {1});
  CHECK(run.steps() == Steps{40, 20});
  std::filesystem::remove(pin);
  nxd::prune(run.storage, {1});
  CHECK(run.steps() == Steps{40});
}
