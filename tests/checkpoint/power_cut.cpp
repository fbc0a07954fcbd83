// SPDX-License-Identifier: Apache-2.0
//
// Saves for power_cut_test.sh, which takes the power away:
//
//   power_cut save DIRECTORY KIND     saves step after step on two ranks, for ever, and prints each
//                                     step once it is told to be saved; KIND: synced, or careless,
//                                     which asks the disk for nothing
//   power_cut check DIRECTORY STEP    what is resumed from is step STEP or a newer one, bit for
//   bit,
//                                     and no checkpoint is torn

#include <cstdio>
#include <string>

#include <nxd/checkpoint/retention.hpp>

#include "parts.hpp"

namespace {

using parts::Split;

/// A file system whose files nobody syncs.
class Careless : public nxd::PosixStorage {
 public:
  using PosixStorage::PosixStorage;

  struct File : nxd::PosixFile {
    void sync() {}
  };
  File create(std::string const& path) { return {PosixStorage::create(path)}; }
  File open(std::string const& path) { return {PosixStorage::open(path)}; }
  void sync_directory(std::string const&) {}
};

template <nxd::Storage S> [[noreturn]] void save_for_ever(S storage) {
  for (std::int64_t step = 1;; ++step) {
    nxd::Threads::run(2, [&](auto comm) {
      auto const held = parts::filled(Split::rows, comm.rank(), 2, static_cast<int>(step % 100));
      nxd::save(comm, storage, parts::request(held, step));
    });
    std::printf("%ld\n", static_cast<long>(step));
    std::fflush(stdout);
    nxd::prune(storage, {.newest = 3});
  }
}

int check(std::string const& directory, std::int64_t told) {
  nxd::Single comm;
  nxd::PosixStorage storage(directory);
  auto held = parts::empty(Split::rows, 0, 1);
  nxd::LoadOptions options;
  options.patience = {};
  auto const loaded = nxd::resume(comm, storage, held.pieces, options);
  auto const step = loaded ? loaded->manifest.step : 0;
  bool const same = loaded && parts::holds(held, Split::rows, 0, 1, static_cast<int>(step % 100));
  auto const torn = loaded ? loaded->skipped.size() : 0;
  std::printf("step %ld of %ld, %s, %zu torn\n", static_cast<long>(step), static_cast<long>(told),
              same ? "as it was saved" : "other bits", torn);
  return step >= told && same && torn == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 64;
  std::string const what = argv[1], directory = argv[2], more = argv[3];
  try {
    if (what == "check") return check(directory, std::stoll(more));
    if (more == "careless") save_for_ever(Careless(directory));
    save_for_ever(nxd::PosixStorage(directory));
  } catch (nxd::Error const& e) {
    std::printf("%s\n", e.what());
    return static_cast<int>(e.code);
  }
}
