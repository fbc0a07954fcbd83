// SPDX-License-Identifier: Apache-2.0
#include "model_disk.hpp"

#include <array>
#include <atomic>
#include <cstdlib>
#include <random>
#include <semaphore>
#include <thread>
#include <unordered_set>

#include <doctest/doctest.h>

#include <nxd/checkpoint/retention.hpp>

#include "parts.hpp"

// Whatever happens to the checkpoints of a run, in any order: a model says what must be there. And
// not one crash by chance but all of them: before every operation of a save on two ranks, and of
// the removal of the checkpoint before it, every state in which a power cut may leave the disk.

namespace {

using parts::ModelDisk;
using parts::ModelStorage;

bool full() { return std::getenv("NXD_FULL") != nullptr; }

parts::Held held_at(std::int64_t step) {
  parts::Held held;
  held.memory.reserve(1);
  parts::Whole const whole{"w", {4}};
  held.add(whole, nxd::whole(whole.shape), whole.dtype);
  for (std::int64_t i = 0; i < 4; ++i)
    parts::set(held.pieces[0], i, parts::value(whole, i, static_cast<int>(step)));
  return held;
}

nxd::SaveResult save_step(ModelDisk& disk, std::int64_t step, bool finite = true,
                          nxd::ReadBack read_back = nxd::ReadBack::sizes) {
  nxd::SaveResult result;
  nxd::Threads::run(1, [&](auto comm) {
    ModelStorage storage(disk);
    auto const held = held_at(step);
    auto request = parts::request(held, step);
    request.info.health.finite = finite;
    result = nxd::save(comm, storage, request, {read_back});
  });
  return result;
}

/// What ranks resume from; what they then hold is what was saved.
std::optional<nxd::Loaded> resume_on(std::int64_t ranks, ModelDisk& disk, nxd::Patience patience) {
  std::optional<nxd::Loaded> loaded;
  nxd::Threads::run(ranks, [&](auto comm) {
    ModelStorage storage(disk);
    auto const held = held_at(0);
    nxd::LoadOptions options;
    options.patience = patience;
    options.reading = nxd::Reading::each;
    auto const found = nxd::resume(comm, storage, held.pieces, options);
    if (found && held.memory != held_at(found->manifest.step).memory)
      throw std::logic_error("what is loaded is not what was saved");
    if (comm.rank() == 0) loaded = found;
  });
  return loaded;
}

std::set<std::string> entries_on(ModelDisk& disk) {
  ModelStorage storage(disk);
  auto const all = nxd::entries(storage);
  return {all.begin(), all.end()};
}

bool is_sound(ModelDisk& disk, std::string const& entry) {
  ModelStorage storage(disk);
  try {
    nxd::verify(storage, entry);
    return true;
  } catch (nxd::CorruptInput const&) {
    return false;
  }
}

/// A checkpoint, as the model knows it.
struct Known {
  std::string entry;
  bool told = false;  ///< a save has said that it is there
  bool pinned = false;

  nxd::EntryName name() const { return nxd::entry_from(entry).value(); }
};

/// A run and its accidents: operations of a save or a removal that fail, or are the last before it
/// is killed or the power is cut; flipped bits, pins, states that are not finite, restarts.
class History {
 public:
  explicit History(unsigned seed) : random_(seed) {
    keep_.newest = std::array{1, 2, 3, -1}[below(4)];
    keep_.every = std::array{0, 2, 5}[below(3)];
    disk_.before = [this](std::string const& operation) { accident(operation); };
  }

  void go(int events) {
    for (int i = 0; i < events; ++i) {
      auto const what = below(20);
      if (what < 12) save(what > 0);
      if (what == 12 || what == 13) spoil_newest();
      if (what == 14) pin();
      if (what == 15) lose_power();
      if (what > 15) restart();
      if (below(4) > 0) continue;
      bool const one_is_sound =
          std::ranges::any_of(known_, [&](auto const& k) { return is_sound(disk_, k.entry); });
      REQUIRE(one_is_sound == (known_sound() > 0));
    }
    restart();
  }

  std::int64_t accidents = 0, removed = 0, restarts = 0;

 private:
  enum class Accident { none, fails, dies };

  std::size_t below(std::size_t n) { return random_() % n; }

  /// What has died does nothing more.
  void accident(std::string const& operation) {
    if (operation.starts_with("open ") || coming_ == Accident::none) return;
    if (--until_ > 0 || (coming_ == Accident::fails && until_ < 0)) return;
    struck_ = true;
    throw nxd::IoError("No space left on device");
  }

  /// Does something that may have an accident. @return all of it was done
  template <class Work> bool may_fail(Work const& work) {
    auto const kind = below(6);
    coming_ = kind == 0 ? Accident::fails : kind == 1 ? Accident::dies : Accident::none;
    until_ = 1 + static_cast<int>(below(30));
    struck_ = false;
    bool done = true;
    try {
      work();
    } catch (nxd::IoError const&) {
      done = false;
    }
    bool const died = coming_ == Accident::dies && struck_;
    coming_ = Accident::none;
    accidents += struck_;
    if (died && below(2) == 0) disk_.lose_power(random_);
    return done && !died;
  }

  void save(bool finite) {
    step_ = below(10) == 0 ? 1 + static_cast<std::int64_t>(below(9)) : step_ + 1;
    disk_.clock += static_cast<std::int64_t>(below(80'000'000)) - 40'000'000;
    std::string entry;
    bool const done = may_fail([&] { entry = save_step(disk_, step_, finite).entry; });
    look_again();
    if (!done || !finite) return;
    REQUIRE_FALSE(known_.empty());
    REQUIRE(known_.back().entry == entry);
    known_.back().told = true;
    retire();
  }

  /// After a save: what goes is what the model lets go.
  void retire() {
    auto const stays = to_stay();
    auto const before = known_.size();
    bool const done = may_fail([&] {
      ModelStorage storage(disk_);
      nxd::prune(storage, keep_);
    });
    auto const left = entries_on(disk_);
    for (auto const& entry : stays) REQUIRE(left.contains(entry));
    if (done) REQUIRE(left.size() == stays.size());
    std::erase_if(known_, [&](Known const& k) { return !left.contains(k.entry); });
    removed += static_cast<std::int64_t>(before - known_.size());
    look_again();
  }

  /// Sizes alone do not tell that an entry is spoilt: it counts.
  std::vector<std::string> to_stay() const {
    std::vector<std::string> stays;
    for (std::size_t i = 0; i < known_.size(); ++i) {
      auto const& k = known_[known_.size() - 1 - i];
      bool const resumed = std::ranges::find(keep_.pinned, k.entry) != keep_.pinned.end();
      if (keep_.newest < 0 || static_cast<std::int64_t>(i) < keep_.newest || resumed || k.pinned ||
          (keep_.every > 0 && k.name().step % keep_.every == 0))
        stays.push_back(k.entry);
    }
    return stays;
  }

  void spoil_newest() {
    if (known_.empty() || spoilt_.contains(known_.back().entry)) return;
    disk_.flip(known_.back().entry + "/model/00000.safetensors", below(1000));
    spoilt_.insert(known_.back().entry);
  }

  void pin() {
    if (known_.empty()) return;
    auto& k = known_[below(known_.size())];
    if (std::exchange(k.pinned, true)) return;
    ModelStorage storage(disk_);
    storage.create(k.entry + nxd::pin_ending).close();
    storage.sync_directory("");
  }

  void lose_power() {
    disk_.lose_power(random_);
    look_again();
  }

  /// The newest that is sound is gone on from; newer ones that are not are put aside.
  void restart() {
    ++restarts;
    std::optional<nxd::Loaded> loaded;
    try {
      loaded = resume_on(1, disk_, {});
    } catch (nxd::CorruptInput const&) {
      REQUIRE(known_sound() == 0);
    }
    while (!known_.empty() && spoilt_.contains(known_.back().entry)) known_.pop_back();
    REQUIRE(loaded.has_value() == !known_.empty());
    if (!loaded) return;
    REQUIRE(loaded->entry == known_.back().entry);
    keep_.pinned = {loaded->entry};
    step_ = loaded->manifest.step;
  }

  /// What was told is there; what nobody was told of may be, and then it counts.
  void look_again() {
    auto const there = entries_on(disk_);
    for (auto const& k : known_) REQUIRE((!k.told || there.contains(k.entry)));
    std::erase_if(known_, [&](Known const& k) { return !there.contains(k.entry); });
    for (auto const& entry : there)
      if (std::ranges::find(known_, entry, &Known::entry) == known_.end()) {
        ModelStorage storage(disk_);
        auto const pins = nxd::pinned_entries(storage);
        known_.push_back({entry, false, std::ranges::find(pins, entry) != pins.end()});
      }
    std::ranges::sort(known_, {}, [](Known const& k) { return k.name().generation; });
  }

  std::int64_t known_sound() const {
    return std::ranges::count_if(known_,
                                 [&](Known const& k) { return !spoilt_.contains(k.entry); });
  }

  std::mt19937 random_;
  ModelDisk disk_;
  nxd::Retention keep_;
  std::int64_t step_ = 0;
  Accident coming_ = Accident::none;
  int until_ = 0;
  bool struck_ = false;
  std::vector<Known> known_;  ///< in the order of their generations
  std::set<std::string> spoilt_;
};

TEST_CASE("whatever happens, one checkpoint is sound if one was, and only what may go goes") {
  auto const* const said = std::getenv("NXD_SEED");
  auto const first = said != nullptr ? static_cast<unsigned>(std::atoi(said)) : 1;
  std::int64_t accidents = 0, removed = 0, restarts = 0;
  for (unsigned seed = first; seed < first + (full() ? 20'000 : 2000); ++seed) {
    CAPTURE(seed);
    History history(seed);
    history.go(8);
    accidents += history.accidents, removed += history.removed, restarts += history.restarts;
  }
  CHECK(accidents > 1000);
  CHECK(removed > 1000);
  MESSAGE(accidents, " accidents, ", removed, " removed, ", restarts, " restarts");
}

TEST_CASE("two jobs that save to one directory at once spoil nothing of each other's") {
  for (unsigned seed = 0; seed < (full() ? 1000 : 60); ++seed) {
    CAPTURE(seed);
    ModelDisk disk;
    std::atomic<unsigned> calls = seed;
    disk.before = [&](std::string const&) {
      auto const chance = (calls += 2654435761u) >> 16;
      if (chance % 3 == 0) std::this_thread::yield();
      if (chance % 100 == 0) disk.clock -= 31'536'000;  // set back a year
    };
    constexpr std::int64_t steps = 6;
    std::array<std::vector<std::string>, 2> told;
    auto const job = [&](std::size_t which) {
      for (std::int64_t step = 1; step <= steps; ++step) try {
          told[which].push_back(save_step(disk, step).entry);
        } catch (nxd::Error const& e) {  // the other was faster; a run goes on after that
          if (e.code != nxd::ExitCode::io && e.code != nxd::ExitCode::corrupt) throw;
        }
    };
    { std::jthread const one(job, 0), other(job, 1); }
    disk.before = [](std::string const&) {};
    auto all = told[0];
    all.insert(all.end(), told[1].begin(), told[1].end());
    std::set<std::string> const entries(all.begin(), all.end());
    CHECK(std::ssize(all) >= steps);
    CHECK(entries.size() == all.size());
    CHECK(entries_on(disk) == entries);
    for (auto const& entry : entries) CHECK(is_sound(disk, entry));
    auto const loaded = resume_on(1, disk, {});
    REQUIRE(loaded);
    CHECK(loaded->skipped.empty());
    CHECK(loaded->entry == *std::ranges::max_element(entries, {}, [](std::string const& entry) {
            return std::pair(nxd::entry_from(entry)->generation, entry);
          }));
    ModelStorage storage(disk);
    for (auto const& found : storage.list("")) CHECK_FALSE(found.name.starts_with(".tmp-"));
  }
}

TEST_CASE("a disk that does not keep what it is given is found out before a save becomes visible") {
  for (std::string const file : {"MANIFEST.json", "model/00000.safetensors"}) {
    CAPTURE(file);
    ModelDisk disk;
    auto const old = save_step(disk, 1).entry;
    disk.before = [&](std::string const& operation) {
      auto const end = "/" + file;
      if (operation.starts_with("close .tmp-") && operation.ends_with(end))
        disk.flip(operation.substr(6), 40);
    };
    auto const read_back = file == "MANIFEST.json" ? nxd::ReadBack::sizes : nxd::ReadBack::full;
    CHECK_THROWS_AS(save_step(disk, 2, true, read_back), nxd::Error);
    disk.before = [](std::string const&) {};
    CHECK(entries_on(disk) == std::set{old});
    CHECK(resume_on(1, disk, {})->skipped.empty());
  }
}

TEST_CASE("files that each rank sees late, or loses sight of, are waited for") {
  using Clock = std::chrono::steady_clock;
  auto const slowest = full() ? 5000 : 150;  // ms
  ModelDisk disk;
  auto const entry = save_step(disk, 7).entry;
  for (unsigned trial = 0; trial < (full() ? 100 : 20); ++trial) {
    CAPTURE(trial);
    auto const began = Clock::now();
    std::atomic<unsigned> ranks = 0;
    disk.before = [&](std::string const& operation) {
      thread_local unsigned seen_in = ~0u;
      thread_local std::mt19937 random;
      if (!operation.starts_with("open " + entry)) return;
      if (std::exchange(seen_in, trial) != trial) random.seed(100 * trial + ranks++);
      std::mt19937 of_file(random() + static_cast<unsigned>(operation.size()));
      auto const late = std::chrono::milliseconds(of_file() % static_cast<unsigned>(slowest));
      if (Clock::now() < began + late) throw nxd::StaleHandle(operation + ": Stale file handle");
    };
    auto const loaded = resume_on(4, disk, std::chrono::seconds(60));
    REQUIRE(loaded);
    CHECK(loaded->entry == entry);
  }
}

/// A model small enough that a save has few states, and large enough for two kinds and two ranks.
parts::Held held_by(std::int64_t rank, std::int64_t salt) {
  parts::Held held;
  held.memory.reserve(2);
  for (std::string const kind : {"model", "optim"}) {
    parts::Whole const whole{"w", {2, 3}, kind};
    held.add(whole, {{rank, 0}, {1, 3}}, nxd::DType::f32);
    for (std::int64_t i = 0; i < 3; ++i)
      parts::set(held.pieces.back(), i, parts::value(whole, 3 * rank + i, static_cast<int>(salt)));
  }
  return held;
}

void save_on_two(ModelDisk& disk, std::int64_t step) {
  nxd::Threads::run(2, [&](auto comm) {
    ModelStorage storage(disk);
    nxd::save(comm, storage, parts::request(held_by(comm.rank(), step), step));
  });
}

/// What is made of a disk after a crash.
struct Resumed {
  std::int64_t step = 0;  ///< nothing saved yet: 0
  bool passed_over = false, wrong = false, refused = false;
};

Resumed resume_after_crash(ModelDisk& disk) {
  Resumed found;
  nxd::Threads::run(1, [&](auto comm) {
    ModelStorage storage(disk);
    parts::Held held;
    held.memory.reserve(4);
    for (std::int64_t rank : {0, 1})
      for (auto const& piece : held_by(rank, 0).pieces)
        held.add({piece.name, piece.shape, piece.kind}, piece.box, piece.dtype);
    nxd::LoadOptions options;
    options.patience = {};
    try {
      auto const loaded = nxd::resume(comm, storage, held.pieces, options);
      if (!loaded) return;
      found.step = loaded->manifest.step;
      found.passed_over = !loaded->skipped.empty();
    } catch (nxd::CorruptInput const&) {
      found.refused = true;
      return;
    }
    for (std::int64_t rank : {0, 1}) {
      auto const wanted = held_by(rank, found.step);
      for (std::size_t i : {0, 1})
        found.wrong |= held.memory[static_cast<std::size_t>(2 * rank) + i] != wanted.memory[i];
    }
  });
  return found;
}

/// How a save of two ranks ends that another job takes for dead, because the clock has jumped.
struct Race {
  bool stopped = false, went_on = false;
  std::int64_t failed = 0;  ///< ranks
  std::string reason;
};

/// The save stops ahead of its operation `stops`, and goes on ahead of operation `goes_on` of the
/// sweep that removes it, or after it.
Race race(ModelDisk& disk, std::int64_t stops, std::int64_t goes_on) {
  Race found;
  std::atomic<std::int64_t> of_save = 0, of_sweep = 0, failed = 0;
  std::binary_semaphore stopped(0), on(0), ended(0);
  auto const sweeper = std::this_thread::get_id();
  disk.before = [&](std::string const& operation) {
    if (operation.starts_with("open ")) return;
    if (std::this_thread::get_id() != sweeper) {
      if (++of_save != stops) return;
      found.stopped = true;
      stopped.release();
      on.acquire();
    } else if (found.stopped && ++of_sweep == goes_on) {
      found.went_on = true;
      on.release();
      ended.acquire();
    }
  };
  {
    std::jthread const save([&] {
      nxd::Threads::run(2, [&](auto comm) {
        ModelStorage storage(disk);
        try {
          nxd::save(comm, storage, parts::request(held_by(comm.rank(), 2), 2));
        } catch (nxd::Error const& e) {
          ++failed;
          if (comm.rank() == 1) found.reason = e.what();
        }
      });
      stopped.release();
      ended.release();
    });
    stopped.acquire();
    disk.clock += 2 * nxd::stale_after;
    ModelStorage storage(disk);
    nxd::sweep(storage, disk.clock);
    if (found.stopped && !found.went_on) on.release();
  }
  disk.before = [](std::string const&) {};
  found.failed = failed;
  return found;
}

TEST_CASE("a save that is taken for dead is whole, or fails on all ranks, whenever it goes on") {
  std::int64_t whole = 0, told = 0;
  for (std::int64_t stops = 1, more = true; more; ++stops)
    for (std::int64_t goes_on = 1;; ++goes_on) {
      CAPTURE(stops);
      CAPTURE(goes_on);
      ModelDisk disk;
      save_on_two(disk, 1);
      auto const found = race(disk, stops, goes_on);
      more = found.stopped;
      CHECK((found.failed == 0 || found.failed == 2));
      auto const after = resume_after_crash(disk);
      CHECK(after.step == (found.failed == 0 ? 2 : 1));
      CHECK_FALSE((after.passed_over || after.wrong));
      whole += found.failed == 0;
      told += found.reason.find("another job has removed this save") != std::string::npos;
      save_on_two(disk, 3);
      CHECK(resume_after_crash(disk).step == 3);
      if (!found.went_on) break;
    }
  CHECK(whole > 2);
  CHECK(told > 20);
  MESSAGE(whole, " whole, ", told, " told of the sweep");
}

/// What is found in all states of a protocol.
struct Findings {
  std::int64_t states = 0;
  std::int64_t wrong = 0;  ///< trusted, and not what was saved
  std::int64_t lost = 0;   ///< older than what a save has told of
  std::int64_t torn = 0;   ///< a checkpoint is there that is not whole
};

/// Three saves, the last of which makes the first go; the power fails at any time during that. Of
/// the states at one time, `most` by chance where there are more.
Findings all_crashes(bool syncs_files, bool syncs_directories, std::size_t most) {
  ModelDisk disk;
  disk.syncs_files = syncs_files;
  disk.syncs_directories = syncs_directories;
  Findings all;
  std::atomic<std::int64_t> told = 0;
  std::mutex one;
  std::unordered_set<std::string> seen;
  auto const look = [&](std::string const& operation) {
    if (operation.starts_with("open ")) return;
    std::lock_guard const lock(one);
    disk.for_each_cut(most, [&](ModelDisk left) {
      if (!seen.insert(std::to_string(told) + left.text()).second) return;
      auto const found = resume_after_crash(left);
      ++all.states;
      all.wrong += found.wrong;
      all.lost += found.refused || found.step < told;
      all.torn += found.refused || found.passed_over;
    });
  };
  disk.before = look;
  for (std::int64_t step = 1; step <= 3; ++step) {
    save_on_two(disk, step);
    told = step;
    look("");
  }
  ModelStorage storage(disk);
  CHECK(nxd::prune(storage, {.newest = 2}).size() == 1);
  look("");
  return all;
}

TEST_CASE("no power cut at any time loses what was told to be saved, or leaves a torn checkpoint") {
  auto const found = all_crashes(true, true, full() ? 5000 : 100);
  CHECK(found.states > 500);
  CHECK(found.wrong == 0);
  CHECK(found.lost == 0);
  CHECK(found.torn == 0);
  MESSAGE(found.states, " states");
}

TEST_CASE("the same look finds what is wrong with a protocol that does not sync") {
  auto const files = all_crashes(false, true, 10);
  CHECK(files.lost > 0);
  CHECK(files.torn > 0);
  CHECK(files.wrong == 0);  // for CRCs tell
  auto const directories = all_crashes(true, false, 10);
  CHECK(directories.lost > 0);
  CHECK(directories.wrong == 0);
}

}  // namespace
