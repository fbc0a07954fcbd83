// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>
#include <optional>

#include <doctest/doctest.h>

#include <nxd/checkpoint/load.hpp>
#include <nxd/checkpoint/s3/storage.hpp>
#include <nxd/checkpoint/save.hpp>

#include "checkpoint/parts.hpp"
#include "server.hpp"

// Whatever a server does while a checkpoint is saved: afterwards the checkpoint is committed, and
// what loads is what was saved; or it has no manifest, the one before it loads, and no upload stays
// open.

namespace {

using parts::Split;
using std::chrono::milliseconds;

s3::Server& server() {
  static s3::Server one;
  return one;
}

enum class Outcome { committed, refused };

/// Saves on two ranks. Nothing if all went well, or the sentence of the error.
std::string save_step(std::int64_t step, milliseconds deadline) {
  std::string reason;
  nxd::Threads::run(2, [&](auto comm) {
    try {
      auto storage = server().storage(deadline);
      auto const held = parts::filled(Split::rows, comm.rank(), 2, static_cast<int>(step));
      nxd::save(comm, storage, parts::request(held, step));
    } catch (nxd::Error const& e) {
      if (comm.rank() == 0) reason = e.what();
    }
  });
  return reason;
}

/// The step that is loaded, bit for bit, on three ranks.
std::int64_t step_that_loads() {
  std::int64_t step = 0;
  nxd::Threads::run(3, [&](auto comm) {
    auto storage = server().storage();
    auto held = parts::empty(Split::flat, comm.rank(), 3);
    auto const loaded = nxd::resume(comm, storage, held.pieces);
    if (!loaded) return;
    auto const salt = static_cast<int>(loaded->manifest.step);
    if (!parts::holds(held, Split::flat, comm.rank(), 3, salt)) throw std::logic_error("bytes");
    if (!loaded->skipped.empty()) throw std::logic_error(loaded->skipped[0]);
    if (comm.rank() == 0) step = loaded->manifest.step;
  });
  return step;
}

/// A run of three saves, the second under `wish`.
Outcome run(std::string const& wish, milliseconds deadline) {
  CAPTURE(wish);
  server().forget();
  CHECK(save_step(1, deadline).empty());
  server().control(wish);
  auto const reason = save_step(2, deadline);
  CAPTURE(reason);
  CHECK(reason.find(s3::secret) == std::string::npos);
  CHECK(reason.find("Signature=") == std::string::npos);
  CHECK((server().faults() > 0 || wish.find("chance") != std::string::npos));
  CHECK(server().unsigned_requests() == 0);
  auto const open = server().uploads();
  server().healthy();
  bool const manifest = server().has("step-000000000002.g000002/MANIFEST.json");
  auto const outcome = reason.empty() ? Outcome::committed : Outcome::refused;
  CHECK(manifest == (outcome == Outcome::committed));
  CHECK(open.empty());
  CHECK(step_that_loads() == (outcome == Outcome::committed ? 2 : 1));
  CHECK(save_step(3, milliseconds(20'000)).empty());
  CHECK(step_that_loads() == 3);
  CHECK(server().uploads().empty());
  return outcome;
}

Outcome run_with(std::string const& fault, milliseconds deadline = milliseconds(20'000)) {
  return run("{\"faults\":[" + fault + "]}", deadline);
}

std::string fault(std::string const& op, std::string const& what, std::string const& more = "") {
  return "{\"op\":\"" + op + "\",\"do\":\"" + what + "\"" + more + "}";
}

constexpr char const* operations[] = {"Put",   "Head",       "Get",      "List",
                                      "Begin", "UploadPart", "Complete", "Delete"};

TEST_CASE("what passes is waited for, whatever is asked when it happens") {
  for (std::string const op : operations)
    for (auto const* what : {"500", "503", "429", "408", "reset", "lost"})
      CHECK(run_with(fault(op, what)) == Outcome::committed);
}

TEST_CASE("a connection may end after any number of bytes, of a request or of its answer") {
  for (int n = 0; n < 1000; n += 125)
    CHECK(run_with(fault("UploadPart", "reset", ",\"nth\":2,\"n\":" + std::to_string(n))) ==
          Outcome::committed);
  for (std::string const op : {"Get", "List", "Begin", "Complete"})
    for (int n = 0; n < 100; n += 33)
      CHECK(run_with(fault(op, "cut", ",\"n\":" + std::to_string(n))) == Outcome::committed);
}

TEST_CASE("what is stored or read wrongly is seen, and written or read again") {
  for (std::string const op : {"Put", "UploadPart", "Complete"}) {
    CHECK(run_with(fault(op, "error200")) == Outcome::committed);
    CHECK(run_with(fault(op, "garbage")) == Outcome::committed);
  }
  for (std::string const op : {"Put", "UploadPart"}) {
    CHECK(run_with(fault(op, "crc")) == Outcome::committed);
    CHECK(run_with(fault(op, "flip", ",\"key\":\"2.g000002/\"")) == Outcome::committed);
  }
  CHECK(run_with(fault("Get", "short")) == Outcome::committed);
  CHECK(run_with(fault("Head", "404", ",\"key\":\"model/\"")) == Outcome::committed);
}

TEST_CASE("what does not pass ends the save with a sentence, and leaves what was there") {
  auto const soon = milliseconds(400);
  for (std::string const op : {"Begin", "UploadPart", "Complete"}) {
    CHECK(run_with(fault(op, "503", ",\"times\":100000"), soon) == Outcome::refused);
    CHECK(run_with(fault(op, "403", ",\"times\":100000")) == Outcome::refused);
    CHECK(run_with(fault(op, "reset", ",\"times\":100000"), soon) == Outcome::refused);
  }
  CHECK(run_with(fault("Begin", "lost", ",\"times\":100000"), soon) == Outcome::refused);
  CHECK(run_with(fault("UploadPart", "lost", ",\"times\":100000"), soon) == Outcome::refused);
  CHECK(run_with(fault("UploadPart", "crc", ",\"times\":100000"), soon) == Outcome::refused);
  CHECK(run_with(fault("Complete", "fatal200")) == Outcome::refused);
  CHECK(run_with(fault("Put", "500", ",\"times\":100000,\"key\":\"2.g000002/MANIFEST\""), soon) ==
        Outcome::refused);
  CHECK(run_with(fault("Put", "403", ",\"key\":\".tmp-step\"")) == Outcome::refused);
  CHECK(run_with(fault("Head", "short", ",\"times\":100000,\"key\":\"2.g000002/model\"")) ==
        Outcome::refused);
}

TEST_CASE("a server that stands still is given up, and asked again") {
  for (std::string const op : {"List", "Complete"})
    CHECK(run_with(fault(op, "slow")) == Outcome::committed);
}

TEST_CASE("any faults at any time") {
  auto const* const full = std::getenv("NXD_FULL");
  int const schedules = full != nullptr && *full != 0 ? 500 : 20;
  int committed = 0;
  for (int seed = 1; seed <= schedules; ++seed) {
    server().forget();
    auto const chance = seed % 4 == 0 ? "0.5" : seed % 2 == 0 ? "0.25" : "0.1";
    auto const wish = "{\"seed\":" + std::to_string(seed) + ",\"chance\":" + chance + "}";
    committed += run(wish, milliseconds(seed % 4 == 0 ? 200 : 5000)) == Outcome::committed;
  }
  CHECK(committed > schedules / 2);
}

}  // namespace
