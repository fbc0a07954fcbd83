// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include <nxd/comm/roll_call.hpp>
#include <nxd/comm/status_file.hpp>
#include <nxd/core/error.hpp>
#include <nxd/core/last_words.hpp>

namespace nxd {

/// What a run is at; each has its own limit of time.
enum class Phase : std::uint8_t { none, start, load, step, validation, save };
/// Spellings.
constexpr auto names_of(Phase) {
  return std::to_array<std::string_view>(
      {"nothing", "the start", "a load", "a step", "a validation", "a save"});
}

/// A thread of each rank that ends the job when a phase takes longer than its limit: it says which
/// rank keeps the others waiting, and where that rank is, and exits with code 72. It makes no call
/// of MPI, and needs none of the others to answer. Cost: it looks at the clock twenty times a
/// second.
class Watchdog {
  using Clock = std::chrono::steady_clock;

 public:
  /// @param roll outlives it @param folder where ranks of several nodes leave their status
  explicit Watchdog(RollCall& roll, std::string folder = {})
      : roll_(roll), folder_(std::move(folder)) {
    for (auto& limit : limits_) limit.store(0);
    thread_ = std::thread([this] { watch(); });
  }
  Watchdog(Watchdog const&) = delete;
  Watchdog& operator=(Watchdog const&) = delete;
  ~Watchdog() {
    {
      std::scoped_lock const lock(mutex_);
      over_ = true;
    }
    ended_.notify_one();
    thread_.join();
  }

  /// Seconds; 0: for ever.
  void limit(Phase phase, double seconds) {
    limits_[static_cast<std::size_t>(phase)].store(seconds);
  }
  /// From now on the rank is at this phase, and its time begins.
  void begin(Phase phase) {
    began_.store(Clock::now().time_since_epoch().count());
    phase_.store(phase, std::memory_order_release);
  }

 private:
  void watch() {
    std::unique_lock lock(mutex_);
    while (!ended_.wait_for(lock, std::chrono::milliseconds(50), [this] { return over_; })) {
      roll_.mine().pulse.fetch_add(1, std::memory_order_relaxed);
      auto const phase = phase_.load(std::memory_order_acquire);
      auto const limit = limits_[static_cast<std::size_t>(phase)].load();
      if (limit > 0 && seconds() > limit) give_up(phase, limit);
    }
  }
  double seconds() const {
    Clock::duration const since(Clock::now().time_since_epoch().count() - began_.load());
    return std::chrono::duration<double>(since).count();
  }

  /// All ranks that still run come here at about the same time; one of each node tells.
  [[noreturn]] void give_up(Phase phase, double limit) {
    roll_.mine().expired.store(1);
    auto const before = roll_.pulses();
    if (!roll_.whole_job()) write_status(folder_, roll_);
    for (int tick = 0; tick < 5; ++tick) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      roll_.mine().pulse.fetch_add(1);
    }
    if (roll_.first_sheet().told.exchange(1) == 0)
      tell(phase, limit, before);
    else
      std::this_thread::sleep_for(std::chrono::milliseconds(300));
    ::_exit(static_cast<int>(ExitCode::hang));
  }
  void tell(Phase phase, double limit, std::vector<std::int64_t> const& before) const {
    auto ranks = roll_.look(before);
    if (!roll_.whole_job()) add_others(folder_, roll_, ranks);
    FixedText<32> time;
    time << static_cast<std::int64_t>(limit);
    auto const found = find_absence(ranks);
    auto const text = spelling(phase) + " has taken more than " + std::string(time.view()) +
                      " s: " + found.sentence;
    last_words().line(text);
    last_words().note(static_cast<int>(ExitCode::hang), text);
  }

  RollCall& roll_;
  std::string folder_;
  std::array<std::atomic<double>, names_of(Phase{}).size()> limits_{};
  std::atomic<Phase> phase_{Phase::none};
  std::atomic<Clock::rep> began_{0};
  std::mutex mutex_;
  std::condition_variable ended_;
  bool over_ = false;
  std::thread thread_;
};

}  // namespace nxd
