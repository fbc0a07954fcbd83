// SPDX-License-Identifier: Apache-2.0
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <atomic>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <limits>
#include <random>

#include <doctest/doctest.h>

#include <nxd/checkpoint/async_save.hpp>
#include <nxd/checkpoint/retention.hpp>
#include <nxd/checkpoint/snapshot.hpp>
#include <nxd/tensor/reference.hpp>

#include "watched.hpp"

namespace {

using parts::on_small_disk;
using parts::resumed_step;
using parts::Split;
using parts::Watched;

/// One rank of a run: state that training changes, and a save of it that goes on meanwhile.
template <nxd::Storage S> class Run {
 public:
  Run(S& storage, std::int64_t rank, std::int64_t ranks)
      : rank_(rank),
        ranks_(ranks),
        held_(parts::empty(Split::rows, rank, ranks)),
        snapshot_(nxd::total_bytes(held_.pieces)),
        save_(storage) {}

  /// Training: all of the state becomes that of a step.
  void become(std::int64_t step) {
    auto const next = parts::filled(Split::rows, rank_, ranks_, static_cast<int>(step));
    for (std::size_t i = 0; i < held_.memory.size(); ++i)
      std::ranges::copy(next.memory[i], held_.memory[i].begin());
  }

  template <class C> void begin(C& comm, std::int64_t step) {
    auto request = parts::request(held_, step);
    request.pieces = snapshot_.copy(request.pieces);
    save_.begin(comm, std::move(request));
  }

  nxd::AsyncSave<S>& save() { return save_; }

 private:
  std::int64_t rank_, ranks_;
  parts::Held held_;
  nxd::Snapshot<nxd::Reference<float>> snapshot_;
  nxd::AsyncSave<S> save_;
};

/// Saves `step` in the background; the state becomes another in the meantime. Its end on each rank.
template <nxd::Storage S>
std::vector<nxd::SaveEnd> save_meanwhile(S& storage, std::int64_t ranks, std::int64_t step) {
  std::vector<nxd::SaveEnd> ends(static_cast<std::size_t>(ranks));
  nxd::Threads::run(ranks, [&](auto comm) {
    Run<S> run(storage, comm.rank(), ranks);
    run.become(step);
    run.begin(comm, step);
    for (std::int64_t later = step + 1;; ++later) {
      run.become(later);
      if (auto end = run.save().poll(comm)) {
        ends[static_cast<std::size_t>(comm.rank())] = std::move(*end);
        return;
      }
    }
  });
  return ends;
}

bool nothing_temporary(std::string const& directory) {
  for (auto const& entry : std::filesystem::directory_iterator(directory))
    if (entry.path().filename().string().starts_with(".tmp-")) return false;
  return true;
}

TEST_CASE("what is saved is the state at the beginning, however it changes in the meantime") {
  for (std::int64_t const ranks : {1, 2, 4}) {
    parts::Folder folder;
    nxd::PosixStorage storage(folder / "ckpt");
    for (std::int64_t step = 1; step <= 34; ++step) {
      auto const ends = save_meanwhile(storage, ranks, step);
      for (auto const& end : ends) {
        REQUIRE(end.saved);
        CHECK(end.step == step);
        CHECK(end.saved->entry == ends[0].saved->entry);
        CHECK(end.saved->bytes == ends[0].saved->bytes);
      }
      CHECK(ends[0].saved->generation == step);
      CHECK(resumed_step(folder / "ckpt") == step);
    }
    CHECK(nothing_temporary(folder / "ckpt"));
  }
}

TEST_CASE("a save in the background makes the same entry as one that is waited for") {
  parts::Folder folder;
  nxd::PosixStorage slow(folder / "slow"), quick(folder / "quick");
  save_meanwhile(slow, 3, 5);
  nxd::Threads::run(3, [&](auto comm) {
    auto const held = parts::filled(Split::rows, comm.rank(), 3, 5);
    nxd::save(comm, quick, parts::request(held, 5));
  });
  std::string const entry = "step-000000000005.g000001";
  auto const read = [&](nxd::PosixStorage& storage) {
    return nxd::parse_manifest(nxd::detail::read_manifest(storage, entry), entry);
  };
  auto const a = read(slow), b = read(quick);
  CHECK(a.files == b.files);
  CHECK(a.tensors == b.tensors);
}

TEST_CASE("who cannot go on waits for the save under way, and finds it saved") {
  parts::Folder folder;
  nxd::PosixStorage storage(folder / "ckpt");
  std::atomic<int> saved = 0, after = 0;
  nxd::Threads::run(2, [&](auto comm) {
    Run<nxd::PosixStorage> run(storage, comm.rank(), 2);
    CHECK_FALSE(run.save().wait(comm));
    run.become(3);
    run.begin(comm, 3);
    run.become(4);
    CHECK(run.save().under_way());
    if (auto const end = run.save().wait(comm); end && end->saved) ++saved;
    CHECK_FALSE(run.save().under_way());
    auto request = parts::request(parts::filled(Split::rows, comm.rank(), 2, 3), 5);
    request.pieces.clear();
    run.save().begin(comm, request, [&] { ++after, throw nxd::IoError("it stays"); });
    auto const end = run.save().wait(comm);
    REQUIRE(end);
    CHECK(end->saved);
    CHECK(end->afterwards_failed == "it stays");
  });
  CHECK(saved == 2);
  CHECK(after == 1);
  CHECK(std::filesystem::exists(folder / "ckpt/step-000000000003.g000001/MANIFEST.json"));
}

TEST_CASE(
    "weights of any rank that are not finite are kept apart, whoever saves them and says what") {
  parts::Folder folder;
  nxd::PosixStorage storage(folder / "ckpt");
  save_meanwhile(storage, 4, 1);
  for (std::int64_t const sick : {0, 3})
    for (float const x : {std::numeric_limits<float>::quiet_NaN(), -HUGE_VALF}) {
      nxd::Threads::run(4, [&](auto comm) {
        auto const held = parts::filled(Split::rows, comm.rank(), 4, 2);
        if (comm.rank() == sick) {
          auto const& piece = held.pieces[static_cast<std::size_t>(sick)];
          parts::set(piece, std::ssize(piece.bytes) / nxd::size_of(piece.dtype) - 1, x);
        }
        nxd::AsyncSave<nxd::PosixStorage> save(storage);
        save.begin(comm, parts::request(held, 2));
        auto const end = save.wait(comm);
        if (!end->saved || !end->saved->entry.starts_with(".diag-step-000000000002"))
          throw std::logic_error("not kept apart");
        if (!nxd::save(comm, storage, parts::request(held, 2)).entry.starts_with(".diag-"))
          throw std::logic_error("not kept apart when it is waited for");
      });
      CHECK(resumed_step(folder / "ckpt") == 1);
    }
}

TEST_CASE("ranks that write in waves make the same entry") {
  for (std::int64_t const writers : {1, 2, 3}) {
    parts::Folder folder;
    nxd::PosixStorage storage(folder / "ckpt");
    std::atomic<int> writing = 0;
    std::atomic<bool> crowded = false;
    Watched watched(folder / "ckpt", [&](auto const& operation) {
      if (operation.starts_with("create ") && operation.ends_with("model/00000.safetensors"))
        writing = 0;
      if (operation.starts_with("reserve ") && operation.ends_with(".safetensors"))
        crowded = crowded || ++writing > writers;
      if (operation.starts_with("close ") && operation.ends_with(".safetensors")) --writing;
    });
    nxd::Threads::run(5, [&](auto comm) {
      auto const held = parts::filled(Split::rows, comm.rank(), 5, 2);
      nxd::save(comm, watched, parts::request(held, 1), {.writers = writers});
      nxd::AsyncSave<Watched> save(watched, {.writers = writers});
      save.begin(comm, parts::request(held, 2));
      save.wait(comm);
    });
    CHECK_FALSE(crowded);
    CHECK(resumed_step(folder / "ckpt") == 2);
  }
}

TEST_CASE("a run that ends in the midst of a save stops it soon, and the one before it stays") {
  parts::Folder folder;
  auto const directory = folder / "ckpt";
  parts::save_one(directory, 1, 1);
  for (int polls = 0; polls < 12; ++polls) {
    nxd::Single comm;
    std::atomic<bool> slow = true;
    Watched storage(directory, [&](auto const& operation) {
      if (slow && operation.starts_with("write ")) ::usleep(1000);
    });
    Run<Watched> run(storage, 0, 1);
    run.become(2);
    run.begin(comm, 2);
    for (int i = 0; i < polls; ++i) run.save().poll(comm), ::usleep(500);
  }
  auto const step = resumed_step(directory);
  CHECK((step == 1 || step == 2));
}

TEST_CASE(
    "any operation that fails is told on all ranks, nothing is left, and the next save succeeds") {
  parts::Folder counting;
  parts::save_one(counting / "ckpt", 1, 1);
  std::atomic<std::int64_t> operations = 0;
  Watched counted(counting / "ckpt", [&](auto const&) { ++operations; });
  save_meanwhile(counted, 2, 2);
  REQUIRE(operations > 20);
  std::int64_t failed = 0;
  for (std::int64_t fault = 0; fault < operations; ++fault) {
    CAPTURE(fault);
    parts::Folder folder;
    parts::save_one(folder / "ckpt", 1, 1);
    std::atomic<std::int64_t> count = 0;
    Watched storage(folder / "ckpt", [&](auto const&) {
      if (count++ == fault) throw nxd::IoError("somewhere: No space left on device");
    });
    auto const ends = save_meanwhile(storage, 2, 2);
    CHECK(ends[0].saved.has_value() == ends[1].saved.has_value());
    CHECK(ends[0].failure == ends[1].failure);
    if (!ends[0].saved) {
      ++failed;
      CHECK(ends[0].failure.find("No space left") != std::string::npos);
    }
    auto const step = resumed_step(folder / "ckpt");
    CHECK((step == 1 || step == 2));
    if (ends[0].saved) CHECK(step == 2);
    CHECK(nothing_temporary(folder / "ckpt"));
    REQUIRE(save_meanwhile(storage, 2, 3)[1].saved);
    CHECK(resumed_step(folder / "ckpt") == 3);
  }
  CHECK(failed > 20);
}

/// What a run tells the process that is going to kill it.
struct Told {
  std::atomic<bool> saves = false;  ///< it has begun to
  std::atomic<std::int64_t> committed = 0;
};

/// A run on two ranks that does nothing but save, from a step on, until it is killed.
[[noreturn]] void save_for_ever(std::string const& directory, std::int64_t first, Told& told) {
  nxd::PosixStorage storage(directory);
  nxd::Threads::run(2, [&](auto comm) {
    Run<nxd::PosixStorage> run(storage, comm.rank(), 2);
    if (comm.rank() == 0) told.saves = true;
    for (auto step = first;; ++step) {
      run.become(step);
      if (!run.save().under_way()) run.begin(comm, step);
      ::usleep(200);
      auto const end = run.save().poll(comm);
      if (end && end->saved && comm.rank() == 0) told.committed = end->step;
    }
  });
  ::_exit(0);
}

TEST_CASE(
    "a run killed at a random moment of its saves goes on from the newest that was told of, or a newer one") {
  int const kills = std::getenv("NXD_FULL") == nullptr ? 40 : 200;
  auto const seed = std::random_device()();
  CAPTURE(seed);
  std::mt19937 random(seed);
  auto* const shared =
      ::mmap(nullptr, sizeof(Told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  REQUIRE(shared != MAP_FAILED);
  auto& told = *new (shared) Told;
  parts::Folder folder;
  nxd::PosixStorage storage(folder / "ckpt");
  auto const length = save_meanwhile(storage, 2, 1)[0].seconds;
  std::uniform_real_distribution<> moment(0, std::min(6 * length, 1.0));
  std::int64_t newest = 1, progress = 0;
  for (int i = 0; i < kills; ++i) {
    auto const child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) save_for_ever(folder / "ckpt", newest + 1, told);
    for (int waits = 0; !told.saves.exchange(false) && waits < 100000; ++waits) ::usleep(100);
    ::usleep(static_cast<::useconds_t>(moment(random) * 1e6));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    auto const found = resumed_step(folder / "ckpt");
    CHECK(found >= told.committed);
    CHECK(found >= newest);
    progress += found > newest ? 1 : 0;
    newest = found;
    nxd::prune(storage, {.newest = 2});
  }
  CHECK(progress > 0);
  MESSAGE(kills, " kills, the newest step then was ", newest);
  ::munmap(shared, sizeof told);
}

TEST_CASE(
    "a disk that is full at any point of a save loses nothing, and is told with path and bytes") {
  for (std::string const size : {"48k", "56k", "64k", "72k", "80k", "88k", "96k", "104k"}) {
    CAPTURE(size);
    parts::Folder folder;
    auto const root = folder.path.string();
    int result = 0;
    auto const test = [&] {
      parts::save_one(root + "/ckpt", 1, 1);
      // The check of free space does not see it coming.
      struct Blind : nxd::PosixStorage {
        using nxd::PosixStorage::PosixStorage;
        std::int64_t free_bytes() { return INT64_MAX / 2; }
      } storage(root + "/ckpt");
      int failed = 0;
      for (std::int64_t step = 2; step < 8; ++step) {
        auto const ends = save_meanwhile(storage, 2, step);
        if (ends[0].saved.has_value() != ends[1].saved.has_value()) return 1;
        if (!ends[0].saved) {
          ++failed;
          if (ends[0].failure.find(root) == std::string::npos ||
              ends[0].failure.find("No space left") == std::string::npos)
            return 2;
          if (!nothing_temporary(root + "/ckpt")) return 3;
        }
        if (resumed_step(root + "/ckpt") < 1) return 4;
      }
      if (failed == 0) return 5;
      if (::mount("tmpfs", root.c_str(), "tmpfs", MS_REMOUNT, "size=1m") != 0) return 6;
      if (!save_meanwhile(storage, 2, 9)[0].saved) return 7;
      return resumed_step(root + "/ckpt") == 9 ? 0 : 8;
    };
    if (!on_small_disk(root, ("size=" + size).c_str(), test, result)) {
      MESSAGE("skipped: this process may not mount a small disk");
      return;
    }
    CHECK(result == 0);
  }
}

TEST_CASE("a file that may not grow is an error of the save, not the end of the run") {
  parts::Folder folder;
  parts::save_one(folder / "ckpt", 1, 1);
  auto const child = ::fork();
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    nxd::PosixStorage storage(folder / "ckpt");
    for (::rlim_t const limit : {0, 1, 100, 700}) {
      ::rlimit const most{limit, RLIM_INFINITY};
      ::setrlimit(RLIMIT_FSIZE, &most);
      auto const end = save_meanwhile(storage, 2, 2)[0];
      if (end.saved || end.failure.find("File too large") == std::string::npos) ::_exit(1);
    }
    ::rlimit const none{RLIM_INFINITY, RLIM_INFINITY};
    ::setrlimit(RLIMIT_FSIZE, &none);
    ::_exit(save_meanwhile(storage, 2, 3)[0].saved ? 0 : 2);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(WEXITSTATUS(status) == 0);
  CHECK(resumed_step(folder / "ckpt") == 3);
}

}  // namespace
