// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include <functional>
#include <string>

#include <doctest/doctest.h>

#include <nxd/checkpoint/load.hpp>
#include <nxd/checkpoint/save.hpp>

#include "parts.hpp"

namespace parts {

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
inline std::int64_t resumed_step(std::string const& directory) {
  nxd::Single comm;
  nxd::PosixStorage storage(directory);
  auto held = empty(Split::rows, 0, 1);
  auto const loaded = nxd::resume(comm, storage, held.pieces);
  if (!loaded) return 0;
  CHECK(loaded->skipped.empty());
  CHECK(holds(held, Split::rows, 0, 1, static_cast<int>(loaded->manifest.step)));
  return loaded->manifest.step;
}

inline void save_through(Watched& storage, std::int64_t ranks, std::int64_t step) {
  nxd::Threads::run(ranks, [&](auto comm) {
    auto const held = filled(Split::rows, comm.rank(), ranks, static_cast<int>(step));
    nxd::save(comm, storage, request(held, step));
  });
}

/// Runs `test` in a process whose /tmp is a disk of `size`; false if this machine does not allow
/// it.
inline bool on_small_disk(std::string const& mount_point, char const* size,
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

}  // namespace parts
