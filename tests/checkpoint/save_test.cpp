// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <cmath>

#include <doctest/doctest.h>

#include <nxd/checkpoint/load.hpp>
#include <nxd/checkpoint/save.hpp>
#include <nxd/checkpoint/state.hpp>

#include "parts.hpp"

namespace {

using parts::Split;

std::string saved_by_threads(std::string const& directory, Split split, std::int64_t ranks,
                             int salt) {
  std::string entry;
  nxd::Threads::run(ranks, [&](auto comm) {
    nxd::PosixStorage storage(directory);
    auto const held = parts::filled(split, comm.rank(), ranks, salt);
    auto const result = nxd::save(comm, storage, parts::request(held, 7));
    if (comm.rank() == 0) entry = result.entry;
  });
  return entry;
}

TEST_CASE("what is saved in any layout on 1, 2, 4 ranks loads in any other, bit for bit") {
  auto const splits = {Split::rows, Split::columns, Split::round_robin, Split::flat};
  std::map<nxd::TensorKey, nxd::Digest> digests;
  int salt = 0;
  for (std::int64_t const from : {1, 2, 4})
    for (auto const split : splits) {
      parts::Folder folder;
      auto const entry = saved_by_threads(folder / "ckpt", split, from, 3);
      for (std::int64_t const to : {1, 2, 4})
        for (auto const other : splits)
          nxd::Threads::run(to, [&](auto comm) {
            nxd::PosixStorage storage(folder / "ckpt");
            auto held = parts::empty(other, comm.rank(), to);
            auto const loaded = nxd::load(comm, storage, entry, held.pieces);
            if (!parts::holds(held, other, comm.rank(), to, 3)) throw std::logic_error("bytes");
            if (loaded.tensors_compared != std::ssize(parts::model))
              throw std::logic_error("not all tensors were compared");
            if (loaded.state != "{\"step\":7}") throw std::logic_error("state");
          });
      nxd::Single comm;
      nxd::PosixStorage storage(folder / "ckpt");
      auto const loaded = nxd::load(comm, storage, entry, {});
      for (auto const& [key, tensor] : loaded.manifest.tensors) {
        auto const [at, is_new] = digests.emplace(key, tensor.digest);
        CHECK(at->second == tensor.digest);
      }
      ++salt;
    }
  CHECK(digests.size() == parts::model.size());
}

TEST_CASE("elements are converted while they load") {
  parts::Folder folder;
  auto const entry = parts::save_one(folder / "ckpt", 1, 0);
  nxd::Single comm;
  nxd::PosixStorage storage(folder / "ckpt");
  parts::Held held;
  held.memory.reserve(8);
  held.add(parts::model[0], nxd::whole(parts::model[0].shape), nxd::DType::f64);
  held.add(parts::model[4], nxd::whole(parts::model[4].shape), nxd::DType::f32);
  auto const loaded = nxd::load(comm, storage, entry, held.pieces);
  CHECK(loaded.tensors_compared == 0);
  double x;
  std::memcpy(&x, held.memory[0].data() + 8 * 9, 8);
  CHECK(x == static_cast<double>(parts::value(parts::model[0], 9, 0)));
  float y;
  std::memcpy(&y, held.memory[1].data() + 4 * 9, 4);
  CHECK(y == nxd::to_float(nxd::to_bf16(parts::value(parts::model[4], 9, 0))));
}

TEST_CASE("a rank that fails makes all ranks fail alike, and leaves nothing behind") {
  parts::Folder folder;
  int said = 0;
  nxd::Threads::run(4, [&](auto comm) {
    nxd::PosixStorage storage(folder / "ckpt");
    auto held = parts::filled(Split::rows, comm.rank(), 4, 0);
    if (comm.rank() == 2) held.pieces[0].bytes = held.pieces[0].bytes.first(4);
    try {
      nxd::save(comm, storage, parts::request(held, 1));
    } catch (nxd::Error const& e) {
      if (std::string(e.what()).find("rank 2: ") == std::string::npos) throw;
      comm.barrier();
      if (comm.rank() == 0) ++said;
    }
  });
  CHECK(said == 1);
  CHECK_FALSE(std::filesystem::exists(folder.path / "ckpt"));
}

TEST_CASE("parts that miss an element, or have it twice, are not saved") {
  parts::Folder folder;
  nxd::Single comm;
  nxd::PosixStorage storage(folder / "ckpt");
  auto const held = parts::filled(Split::flat, 0, 2, 0);
  CHECK_THROWS_WITH_AS(nxd::save(comm, storage, parts::request(held, 1)),
                       doctest::Contains("are in no part"), nxd::Error);
  CHECK_THROWS_WITH_AS(nxd::Threads::run(2,
                                         [&](auto two) {
                                           auto const all = parts::filled(Split::rows, 0, 1, 0);
                                           nxd::save(two, storage, parts::request(all, 1));
                                         }),
                       doctest::Contains("have elements in common"), nxd::Error);
  CHECK_THROWS_WITH_AS(nxd::Threads::run(2,
                                         [&](auto two) {
                                           auto const mine =
                                               parts::filled(Split::rows, two.rank(), 2, 0);
                                           auto request = parts::request(mine, 1 + two.rank());
                                           request.state = "{}";
                                           nxd::save(two, storage, request);
                                         }),
                       doctest::Contains("at another step"), nxd::Error);
}

TEST_CASE("each save has a generation of its own, also of a step that was saved before") {
  parts::Folder folder;
  CHECK(parts::save_one(folder / "ckpt", 5, 0) == "step-000000000005.g000001");
  CHECK(parts::save_one(folder / "ckpt", 5, 1) == "step-000000000005.g000002");
  CHECK(parts::save_one(folder / "ckpt", 2, 2) == "step-000000000002.g000003");
  CHECK(parts::read_file(folder / "ckpt/LATEST") == "step-000000000002.g000003\n");
  nxd::Single comm;
  nxd::PosixStorage storage(folder / "ckpt");
  CHECK(nxd::find_newest(comm, storage) == "step-000000000002.g000003");
}

TEST_CASE("a state that is not finite is kept apart and never resumed from") {
  parts::Folder folder;
  auto const good = parts::save_one(folder / "ckpt", 1, 0);
  nxd::Single comm;
  nxd::PosixStorage storage(folder / "ckpt");
  auto const held = parts::filled(Split::rows, 0, 1, 1);
  auto request = parts::request(held, 2);
  request.info.health.finite = false;
  CHECK(nxd::save(comm, storage, request).entry == ".diag-step-000000000002.g000002");
  CHECK(nxd::find_newest(comm, storage) == good);
  CHECK(parts::save_one(folder / "ckpt", 3, 0) == "step-000000000003.g000003");
}

TEST_CASE("a full read-back finds the save sound") {
  parts::Folder folder;
  nxd::Single comm;
  nxd::PosixStorage storage(folder / "ckpt");
  auto const held = parts::filled(Split::rows, 0, 1, 1);
  auto const saved = nxd::save(comm, storage, parts::request(held, 2), {nxd::ReadBack::full});
  auto const report = nxd::verify(storage, saved.entry);
  CHECK(report.files == 3);
  CHECK(report.bytes == saved.bytes);
  CHECK(report.unlisted.empty());
  parts::write_file(folder / ("ckpt/" + saved.entry + "/model/extra"), "x");
  CHECK(nxd::verify(storage, saved.entry).unlisted == std::vector<std::string>{"model/extra"});
}

// -----------------------------------------------------------------------------

/// A state of a trainer's own: the example of the header.
struct Progress {
  std::int64_t steps = 0;
  std::map<std::string, double> rates;

  template <class Archive> void serialize(Archive& a, unsigned) {
    a& nxd::nvp("steps", steps) & nxd::nvp("rates", rates);
  }
};

TEST_CASE("a state saved by any layout comes back to every rank of any other") {
  for (std::int64_t const from : {1, 4})
    for (std::int64_t const to : {2, 1}) {
      parts::Folder folder;
      nxd::Threads::run(from, [&](auto comm) {
        nxd::PosixStorage storage(folder / "ckpt");
        auto const held = parts::filled(Split::rows, comm.rank(), from, 3);
        auto request = parts::request(held, 7);
        request.state = nxd::state_text(Progress{7, {{"lr", 0.1}, {"decay", NAN}}});
        nxd::save(comm, storage, request);
      });
      nxd::Threads::run(to, [&](auto comm) {
        nxd::PosixStorage storage(folder / "ckpt");
        auto held = parts::empty(Split::columns, comm.rank(), to);
        auto const loaded = nxd::resume(comm, storage, held.pieces);
        auto const state = nxd::parse_state<Progress>(loaded->state, loaded->entry);
        if (state.steps != 7 || state.rates.at("lr") != 0.1 || !std::isnan(state.rates.at("decay")))
          throw std::logic_error("state");
      });
    }
}

TEST_CASE("a rank that has another state is named, with the key, and nothing is saved") {
  parts::Folder folder;
  std::atomic<int> told = 0;
  nxd::Threads::run(4, [&](auto comm) {
    nxd::PosixStorage storage(folder / "ckpt");
    auto const held = parts::filled(Split::rows, comm.rank(), 4, 3);
    auto request = parts::request(held, 7);
    request.state = nxd::state_text(Progress{7, {{"lr", comm.rank() == 2 ? 0.2 : 0.1}}});
    try {
      nxd::save(comm, storage, request);
    } catch (nxd::Error const& e) {
      std::string const said = e.what();
      told += e.code == nxd::ExitCode::desync &&
              said == "save: rank 2 has another state than rank 0: rates.lr: 0.1 and 0.2";
    }
  });
  CHECK(told == 4);
  CHECK_FALSE(std::filesystem::exists(folder / "ckpt"));
}

}  // namespace
