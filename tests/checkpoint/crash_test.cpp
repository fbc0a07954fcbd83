// SPDX-License-Identifier: Apache-2.0
#include <sys/wait.h>

#include <atomic>
#include <set>

#include <doctest/doctest.h>

#include "system_calls.hpp"
#include "watched.hpp"

namespace {

using parts::CallEnd;
using parts::SystemCalls;

using parts::on_small_disk;
using parts::resumed_step;
using parts::save_through;
using parts::Split;
using parts::Watched;

std::int64_t operations_of_a_save() {
  parts::Folder folder;
  parts::save_one(folder / "ckpt", 1, 1);
  std::atomic<std::int64_t> count = 0;
  Watched storage(folder / "ckpt", [&](auto const&) { ++count; });
  save_through(storage, 2, 2);
  return count;
}

TEST_CASE("a save killed before any of its operations leaves the checkpoint before it, or itself") {
  auto const operations = operations_of_a_save();
  REQUIRE(operations > 20);
  std::int64_t old = 0, fresh = 0;
  for (std::int64_t kill = 0; kill <= operations; ++kill) {
    CAPTURE(kill);
    parts::Folder folder;
    parts::save_one(folder / "ckpt", 1, 1);
    auto const child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      std::atomic<std::int64_t> count = 0;
      Watched storage(folder / "ckpt", [&](auto const&) {
        if (count++ == kill) ::_exit(9);
      });
      save_through(storage, 2, 2);
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    auto const step = resumed_step(folder / "ckpt");
    CHECK((step == 1 || step == 2));
    if (WEXITSTATUS(status) == 0) CHECK(step == 2);
    ++(step == 1 ? old : fresh);
    CHECK(parts::save_one(folder / "ckpt", 3, 3) != "");
    CHECK(resumed_step(folder / "ckpt") == 3);
  }
  CHECK(old > 20);
  CHECK(fresh > 0);
}

TEST_CASE("the very first save, killed anywhere, leaves a fresh start or itself") {
  for (std::int64_t kill = 0; kill < 40; ++kill) {
    CAPTURE(kill);
    parts::Folder folder;
    auto const child = ::fork();
    if (child == 0) {
      std::int64_t count = 0;
      Watched storage(folder / "ckpt", [&](auto const&) {
        if (count++ == kill) ::_exit(9);
      });
      save_through(storage, 1, 2);
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    auto const step = resumed_step(folder / "ckpt");
    CHECK((step == 0 || step == 2));
  }
}

TEST_CASE(
    "any operation of a save that fails is an error on all ranks, and the next save succeeds") {
  auto const operations = operations_of_a_save();
  for (std::int64_t fault = 0; fault < operations; ++fault) {
    CAPTURE(fault);
    parts::Folder folder;
    parts::save_one(folder / "ckpt", 1, 1);
    std::atomic<std::int64_t> count = 0;
    Watched storage(folder / "ckpt", [&](auto const&) {
      if (count++ == fault) throw nxd::IoError("somewhere: Input/output error");
    });
    std::atomic<int> failed = 0;
    nxd::Threads::run(2, [&](auto comm) {
      auto const held = parts::filled(Split::rows, comm.rank(), 2, 2);
      try {
        nxd::save(comm, storage, parts::request(held, 2));
      } catch (nxd::IoError const&) {
        ++failed;
      }
    });
    CHECK((failed == 2 || failed == 0));
    auto const step = resumed_step(folder / "ckpt");
    CHECK((step == 1 || step == 2));
    if (failed == 0) CHECK(step == 2);
    for (auto const& entry : std::filesystem::directory_iterator(folder / "ckpt"))
      CHECK(entry.path().filename().string().substr(0, 5) != ".tmp-");
    save_through(storage, 2, 3);
    CHECK(resumed_step(folder / "ckpt") == 3);
  }
}

TEST_CASE("all is on the disk before it becomes visible, and its name before the save says so") {
  parts::Folder folder;
  parts::save_one(folder / "ckpt", 1, 1);
  std::vector<std::string> log;
  Watched storage(folder / "ckpt", [&](auto const& operation) { log.push_back(operation); });
  save_through(storage, 1, 2);
  auto const find = [&](std::string const& operation) {
    auto const at = std::ranges::find(log, operation) - log.begin();
    CAPTURE(operation);
    REQUIRE(at < std::ssize(log));
    return at;
  };
  auto const last = [&](std::string const& operation) {
    auto const back = std::find(log.rbegin(), log.rend(), operation);
    return std::ssize(log) - 1 - (back - log.rbegin());
  };
  auto const commit =
      std::ranges::find_if(log, [](auto const& op) { return op.starts_with("rename "); });
  REQUIRE(commit != log.end());
  auto const temporary = commit->substr(7);
  auto const manifest = find("create " + temporary + "/MANIFEST.json");
  for (std::string const name :
       {"/MANIFEST.json", "/state.json", "/model/00000.safetensors", "/optim/00000.safetensors"}) {
    auto const file = temporary + name;
    CHECK(find("create " + file) < find("reserve " + file));
    CHECK(find("reserve " + file) < find("write " + file));
    CHECK(last("write " + file) < find("sync " + file));
    CHECK(find("sync " + file) < find("syncdir " + temporary));
    if (name != "/MANIFEST.json") CHECK(find("close " + file) < manifest);
  }
  CHECK(last("syncdir ") > commit - log.begin());
  CHECK(find("syncdir ") < find("create " + temporary + "/state.json"));
  for (std::string const directory : {"", "/model", "/optim"}) {
    CHECK(find("syncdir " + temporary + directory) > manifest);
    CHECK(find("syncdir " + temporary + directory) < commit - log.begin());
  }
}

TEST_CASE("a file whose sync fails is written anew under another name") {
  parts::Folder folder;
  nxd::PosixStorage plain(folder / "ckpt");
  plain.make_root();
  plain.make_directory("save");
  plain.make_directory("save/model");
  auto const held = parts::filled(Split::rows, 0, 1, 0);
  for (int fault = 2;; ++fault) {
    CAPTURE(fault);
    plain.remove("save/model");
    plain.make_directory("save/model");
    auto shards = nxd::detail::plan_shards(held.pieces, 0);
    int count = 0;
    Watched storage(folder / "ckpt", [&](auto const&) {
      if (++count == fault) throw nxd::SyncError("model: cannot sync");
    });
    auto const record = nxd::detail::write_shard(storage, "save", shards[0]);
    if (count < fault) break;
    CHECK(record.name == "model/00000.again.safetensors");
    CHECK_FALSE(std::filesystem::exists(folder / "ckpt/save/model/00000.safetensors"));
    CHECK(std::filesystem::exists(folder / ("ckpt/save/" + record.name)));
  }
}

TEST_CASE("a full disk is told with path and bytes, and what was saved before stays") {
  parts::Folder folder;
  auto const root = folder.path.string();
  int result = 0;
  auto const test = [&] {
    nxd::Single comm;
    nxd::PosixStorage storage(root + "/ckpt");
    parts::save_one(root + "/ckpt", 1, 1);
    parts::Held big;
    big.add({"big", {1024, 512}}, nxd::whole({1024, 512}), nxd::DType::f32);
    try {
      nxd::save(comm, storage, parts::request(big, 2));
      return 1;
    } catch (nxd::IoError const& e) {
      std::string const said = e.what();
      if (said.find(root) == std::string::npos || said.find("needs 2") == std::string::npos)
        return 2;
    }
    try {
      storage.create("raw").reserve(4 << 20);
      return 3;
    } catch (nxd::IoError const& e) {
      if (std::string(e.what()).find("4194304 more bytes") == std::string::npos) return 4;
    }
    storage.remove("raw");
    try {
      nxd::detail::write_file(storage, "", "raw", std::string(4 << 20, 'x'));
      return 5;
    } catch (nxd::IoError const&) {
    }
    nxd::PosixStorage again(root + "/ckpt");
    auto held = parts::empty(Split::rows, 0, 1);
    auto const loaded = nxd::resume(comm, again, held.pieces);
    return loaded && loaded->manifest.step == 1 ? 0 : 6;
  };
  if (!on_small_disk(root, "size=1m", test, result)) {
    MESSAGE("skipped: this process may not mount a small disk");
    return;
  }
  CHECK(result == 0);
}

/// Saves step 2 where step 1 is; the call to the system at place `fault` ends so. @return the
/// calls, and whether the save has succeeded
std::pair<std::vector<std::string>, bool> save_with(std::string const& root, std::int64_t fault,
                                                    CallEnd const& end) {
  std::vector<std::string> calls;
  SystemCalls const told(root, [&](std::string const& call) {
    calls.push_back(call);
    return std::ssize(calls) == fault ? end : CallEnd{};
  });
  try {
    parts::save_one(root, 2, 2);
    return {calls, true};
  } catch (nxd::IoError const& e) {
    CAPTURE(e.what());
    CHECK(std::string(e.what()).find(root) != std::string::npos);
    return {calls, false};
  }
}

TEST_CASE("whatever call to the system fails in a save, nothing is lost and nothing is left") {
  std::vector<std::string> calls;
  {
    parts::Folder folder;
    parts::save_one(folder / "ckpt", 1, 1);
    calls = save_with(folder / "ckpt", 0, {}).first;
  }
  REQUIRE(calls.size() > 40);
  for (int const error : {ENOSPC, EIO, EDQUOT}) {
    std::set<std::string> failed;
    for (std::int64_t fault = 1; fault <= std::ssize(calls); ++fault) {
      CAPTURE(calls[static_cast<std::size_t>(fault - 1)]);
      parts::Folder folder;
      parts::save_one(folder / "ckpt", 1, 1);
      auto const [made, done] = save_with(folder / "ckpt", fault, {.error = error});
      auto const& call = made[static_cast<std::size_t>(fault - 1)];
      if (!done) failed.insert(call.substr(0, call.find(' ')));
      auto const step = resumed_step(folder / "ckpt");
      CHECK((step == 1 || step == 2));
      if (done) CHECK(step == 2);
      for (auto const& entry : std::filesystem::directory_iterator(folder / "ckpt"))
        CHECK_FALSE(entry.path().filename().string().starts_with(".tmp-"));
      parts::save_one(folder / "ckpt", 3, 3);
      CHECK(resumed_step(folder / "ckpt") == 3);
    }
    CHECK(failed == std::set<std::string>{"create", "reserve", "write", "fsync", "close", "mkdir",
                                          "pread", "rename", "list"});
  }
}

TEST_CASE("a call that is interrupted, or does part of its work, is made again") {
  for (CallEnd const& end : {CallEnd{.error = EINTR}, CallEnd{.at_most = 1}}) {
    parts::Folder folder;
    auto const root = folder / "ckpt";
    parts::save_one(root, 1, 1);
    bool again = false;
    {
      SystemCalls const told(root, [&](std::string const& call) -> CallEnd {
        bool const repeats = call.starts_with("write ") || call.starts_with("reserve ") ||
                             call.starts_with("pread ");
        return repeats && (again = !again) ? end : CallEnd{};
      });
      parts::save_one(root, 2, 2);
      CHECK(resumed_step(root) == 2);
    }
    CHECK(resumed_step(root) == 2);
  }
}

TEST_CASE("a folder that a network file system loses sight of is listed again, and is not empty") {
  parts::Folder folder;
  auto const root = folder / "ckpt";
  parts::save_one(root, 1, 1);
  int stale = 2;
  SystemCalls const told(root, [&](std::string const& call) -> CallEnd {
    if (call.starts_with("list ") && stale-- > 0) return {.error = ESTALE};
    return {};
  });
  CHECK(resumed_step(root) == 1);
  stale = 1 << 30;
  CHECK_THROWS_AS(resumed_step(root), nxd::IoError);  // no fresh start
}

TEST_CASE("every file and every folder of a save is synced by the system, before it is visible") {
  parts::Folder folder;
  parts::save_one(folder / "ckpt", 1, 1);
  auto const [calls, done] = save_with(folder / "ckpt", 0, {});
  REQUIRE(done);
  std::string const draft = ".tmp-step-000000000002.g000002";
  auto const place = [&](std::string const& call) {
    CAPTURE(call);
    auto const found = std::ranges::find(calls, call);
    CHECK(found != calls.end());
    return found;
  };
  auto const commit = place("rename " + draft);
  for (std::string const name :
       {"/MANIFEST.json", "/state.json", "/model/00000.safetensors", "/optim/00000.safetensors"})
    CHECK(place("fsync " + draft + name) < commit);
  for (std::string const name : {"", "/model", "/optim"}) {
    CHECK(place("fsync " + draft + name) > place("fsync " + draft + "/MANIFEST.json"));
    CHECK(place("fsync " + draft + name) < commit);
  }
  CHECK(std::find(commit, calls.end(), "fsync ") != calls.end());
}

}  // namespace
