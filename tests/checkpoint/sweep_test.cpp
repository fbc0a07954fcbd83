// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/stat.h>

#include <ctime>

#include <doctest/doctest.h>

#include <nxd/checkpoint/save.hpp>
#include <nxd/checkpoint/sweep.hpp>

#include "parts.hpp"

namespace {

namespace fs = std::filesystem;

/// Sets when a file or folder was last changed, to seconds ago.
void age(fs::path const& path, std::int64_t seconds) {
  ::timespec const then{::time(nullptr) - seconds, 0};
  ::timespec const both[] = {then, then};
  if (::utimensat(AT_FDCWD, path.c_str(), both, 0) != 0) throw std::runtime_error(path);
}

/// A directory with a checkpoint and a save that was begun; all of it so old.
struct Begun {
  parts::Folder folder;
  fs::path root{folder / "ckpt"};
  nxd::PosixStorage storage{root};
  std::string entry = parts::save_one(root, 1, 1);

  explicit Begun(std::int64_t seconds) {
    fs::create_directories(root / ".tmp-1/model");
    parts::write_file(root / ".tmp-1/model/00000.safetensors", "x");
    age(root / ".tmp-1/model/00000.safetensors", seconds);
    age(root / ".tmp-1/model", seconds);
    age(root / ".tmp-1", seconds);
  }
};

TEST_CASE("a save in which nothing has changed for an hour is removed by the next one") {
  Begun begun(nxd::stale_after + 60);
  parts::save_one(begun.root, 2, 2);
  CHECK_FALSE(fs::exists(begun.root / ".tmp-1"));
  CHECK(nxd::entries(begun.storage).size() == 2);
}

TEST_CASE("a save that may be under way stays: one file in it is young") {
  Begun young(nxd::stale_after - 60);
  parts::save_one(young.root, 2, 2);
  CHECK(fs::exists(young.root / ".tmp-1"));
  Begun written(10 * nxd::stale_after);
  age(written.root / ".tmp-1/model/00000.safetensors", 5);
  parts::save_one(written.root, 2, 2);
  CHECK(fs::exists(written.root / ".tmp-1/model/00000.safetensors"));
  Begun future(-1000);
  parts::save_one(future.root, 2, 2);
  CHECK(fs::exists(future.root / ".tmp-1"));
}

TEST_CASE("what was being removed is removed, however young, and drafts when they are old") {
  Begun begun(0);
  fs::create_directories(begun.root / ".trash-step-000000000009.g000009/model");
  parts::write_file(begun.root / ".tmp-run-7", "{}");
  age(begun.root / ".tmp-run-7", 2 * nxd::stale_after);
  parts::save_one(begun.root, 2, 2);
  CHECK_FALSE(fs::exists(begun.root / ".trash-step-000000000009.g000009"));
  CHECK_FALSE(fs::exists(begun.root / ".tmp-run-7"));
}

TEST_CASE("nothing else is touched: checkpoints, what was put aside, what others have left") {
  Begun begun(0);
  for (auto const* name : {".bad-step-000000000009.g000009", ".diag-step-000000000009.g000008",
                           "notes", ".tmp", ".hidden"}) {
    fs::create_directory(begun.root / name);
    age(begun.root / name, 100 * nxd::stale_after);
  }
  age(begun.root / begun.entry, 100 * nxd::stale_after);
  CHECK(nxd::left_behind(begun.storage, ::time(nullptr)).empty());
  nxd::sweep(begun.storage, ::time(nullptr) + 50 * nxd::stale_after);
  CHECK(fs::exists(begun.root / begun.entry / "MANIFEST.json"));
  for (auto const* name : {".bad-step-000000000009.g000009", ".diag-step-000000000009.g000008",
                           "notes", ".tmp", ".hidden"})
    CHECK(fs::exists(begun.root / name));
  CHECK_FALSE(fs::exists(begun.root / ".tmp-1"));
}

/// A storage in which another job sweeps a save away before its second file is made.
struct Swept : nxd::PosixStorage {
  using PosixStorage::PosixStorage;

  nxd::PosixFile create(std::string const& path) {
    if (path.find("/optim/") != std::string::npos) remove(path.substr(0, path.find('/')));
    return PosixStorage::create(path);
  }
};

TEST_CASE("a save that is swept away while it is stopped fails, and the next one succeeds") {
  parts::Folder folder;
  parts::save_one(folder / "ckpt", 1, 1);
  Swept storage(folder / "ckpt");
  nxd::Single comm;
  auto const held = parts::filled(parts::Split::rows, 0, 1, 2);
  CHECK_THROWS_AS(nxd::save(comm, storage, parts::request(held, 2)), nxd::IoError);
  CHECK(nxd::entries(storage).size() == 1);
  CHECK(parts::save_one(folder / "ckpt", 2, 2) == "step-000000000002.g000002");
}

TEST_CASE("the clock of a directory is that of a file made in it, which does not stay") {
  parts::Folder folder;
  nxd::PosixStorage storage(folder.path);
  auto const now = nxd::clock_of(storage, "x");
  CHECK(std::abs(now - ::time(nullptr)) <= 5);
  CHECK(storage.list("").empty());
}

}  // namespace
