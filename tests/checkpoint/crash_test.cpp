// SPDX-License-Identifier: Apache-2.0
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include <atomic>
#include <functional>

#include <doctest/doctest.h>

#include <nxd/checkpoint/load.hpp>
#include <nxd/checkpoint/save.hpp>

#include "parts.hpp"

namespace {

using parts::Split;

/// A storage that tells `before` of each operation that changes something, ahead of it.
class Watched {
 public:
  using Before = std::function<void(std::string const& operation)>;

  class File {
   public:
    File(nxd::PosixFile file, std::string path, Before const& before)
        : file_(std::move(file)), path_(std::move(path)), before_(&before) {}
    void reserve(std::int64_t n) { tell("reserve "), file_.reserve(n); }
    void write(std::span<std::byte const> bytes) {  // a crash may tear what is written
      file_.write(bytes.first(bytes.size() / 2));
      tell("write ");
      file_.write(bytes.subspan(bytes.size() / 2));
    }
    void sync() { tell("sync "), file_.sync(); }
    void close() { tell("close "), file_.close(); }
    std::int64_t size() const { return file_.size(); }
    void read(std::int64_t offset, std::span<std::byte> to) const { file_.read(offset, to); }

   private:
    void tell(char const* what) { (*before_)(what + path_); }

    nxd::PosixFile file_;
    std::string path_;
    Before const* before_;
  };

  Watched(std::string root, Before before) : under_(std::move(root)), before_(std::move(before)) {}

  void make_root() { before_("make root"), under_.make_root(); }
  File create(std::string const& path) {
    before_("create " + path);
    return {under_.create(path), path, before_};
  }
  File open(std::string const& path) { return {under_.open(path), path, before_}; }
  void make_directory(std::string const& path) {
    before_("mkdir " + path), under_.make_directory(path);
  }
  std::vector<nxd::DirectoryEntry> list(std::string const& path) { return under_.list(path); }
  void rename(std::string const& a, std::string const& b) {
    before_("rename " + a), under_.rename(a, b);
  }
  void sync_directory(std::string const& path) {
    before_("syncdir " + path), under_.sync_directory(path);
  }
  void remove(std::string const& path) { under_.remove(path); }
  std::int64_t free_bytes() { return under_.free_bytes(); }
  std::string where(std::string const& path) const { return under_.where(path); }

 private:
  nxd::PosixStorage under_;
  Before before_;
};

static_assert(nxd::Storage<Watched>);

/// The step that resuming finds, its values checked.
std::int64_t resumed_step(std::string const& directory) {
  nxd::Single comm;
  nxd::PosixStorage storage(directory);
  auto held = parts::empty(Split::rows, 0, 1);
  auto const loaded = nxd::resume(comm, storage, held.pieces);
  if (!loaded) return 0;
  CHECK(loaded->skipped.empty());
  CHECK(parts::holds(held, Split::rows, 0, 1, static_cast<int>(loaded->manifest.step)));
  return loaded->manifest.step;
}

void save_through(Watched& storage, std::int64_t ranks, std::int64_t step) {
  nxd::Threads::run(ranks, [&](auto comm) {
    auto const held = parts::filled(Split::rows, comm.rank(), ranks, static_cast<int>(step));
    nxd::save(comm, storage, parts::request(held, step));
  });
}

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

/// Runs `test` in a process whose /tmp is a disk of `size`; false if this machine does not allow
/// it.
bool on_small_disk(std::string const& mount_point, char const* size,
                   std::function<int()> const& test, int& result) {
  auto const child = ::fork();
  if (child == 0) {
    if (::unshare(CLONE_NEWNS) != 0 ||
        ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("tmpfs", mount_point.c_str(), "tmpfs", 0, size) != 0)
      ::_exit(100);
    ::_exit(test());
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  result = WEXITSTATUS(status);
  return result != 100;
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

}  // namespace
