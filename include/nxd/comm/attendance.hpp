// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include <nxd/comm/rendezvous.hpp>
#include <nxd/core/whereabouts.hpp>

namespace nxd {

/// A rendezvous that a rank has come to, as it stands in memory that others may read: 64 bytes.
struct Attended {
  std::uint64_t hash = 0;  ///< of what it is, and of where in its plan the rank came to it
  std::int64_t bytes = 0;
  std::int32_t first = 0, stride = 0, count = 0, place = 0;
  std::int32_t detail = 0;
  std::int32_t nth = 0;  ///< of the exchanges of its line, messages aside
  std::uint8_t exchange = 0, element = 0;
  std::array<char, 22> at{};  ///< where in the step

  Line line() const { return {first, stride, count, place}; }
  Rendezvous what() const {
    return {static_cast<Exchange>(exchange), element, line(), bytes, detail};
  }
  bool same_line(Attended const& other) const {
    return first == other.first && stride == other.stride && count == other.count;
  }
};
static_assert(sizeof(Attended) == 64);

/// An `Attended` that one thread writes while others, or other processes, may read it.
class SharedAttended {
  using Words = std::array<std::uint64_t, sizeof(Attended) / sizeof(std::uint64_t)>;

 public:
  void store(Attended const& a) {
    auto const words = std::bit_cast<Words>(a);
    for (std::size_t i = 0; i < words.size(); ++i)
      words_[i].store(words[i], std::memory_order_relaxed);
  }
  Attended load() const {
    Words words;
    for (std::size_t i = 0; i < words.size(); ++i)
      words[i] = words_[i].load(std::memory_order_relaxed);
    return std::bit_cast<Attended>(words);
  }

 private:
  std::array<std::atomic<std::uint64_t>, sizeof(Attended) / sizeof(std::uint64_t)> words_{};
};

/// What others may know of a rank, in memory that its node shares.
struct Sheet {
  static constexpr std::int64_t kept = 1024;  ///< the exchanges that are remembered

  std::atomic<std::int64_t> pid{0};
  std::atomic<std::int64_t> pulse{0};    ///< counts while the process runs
  std::atomic<std::int64_t> came{0};     ///< exchanges so far
  std::atomic<std::int32_t> inside{0};   ///< it waits in `present`
  std::atomic<std::int32_t> expired{0};  ///< its own watchdog has given up
  std::atomic<std::int32_t> told{0};     ///< the first sheet's: somebody tells
  Whereabouts::Spot spot;
  SharedAttended present;
  std::array<SharedAttended, kept> past;
};

/// Writes down every exchange of a rank, before and after: where the rank is seen to wait, and a
/// fingerprint of all that it did, which agrees with that of its peers or shows who did not do the
/// same. Costs some tens of nanoseconds an exchange, and asks for memory when a line is new.
class Attendance {
  using Clock = std::chrono::steady_clock;

 public:
  /// @param sheet where it is written; both outlive this object
  explicit Attendance(Sheet& sheet, Whereabouts const& whereabouts = this_process())
      : sheet_(sheet), whereabouts_(whereabouts) {
    lines_.reserve(16);
  }
  Attendance(Attendance const&) = delete;
  Attendance& operator=(Attendance const&) = delete;

  /// While it lives, the rank is in an exchange.
  class Stay {
   public:
    Stay() = default;
    explicit Stay(Attendance* of) : of_(of) {}
    Stay(Stay const&) = delete;
    Stay& operator=(Stay const&) = delete;
    ~Stay() {
      if (of_ != nullptr) of_->leave();
    }

   private:
    Attendance* of_ = nullptr;
  };

  /// The rank comes to `r`, and waits until what is returned ends.
  Stay enter(Rendezvous const& r) {
    count(r);
    if (before_each) before_each(last_);
    return stay(last_);
  }
  /// Only the waiting, for what has been counted.
  Stay wait(Rendezvous const& r) { return stay(attended(r, 0)); }
  Stay wait(Attended const& at) { return stay(at); }
  /// The rank comes to an exchange of a line, and waits for the others of the line later: with what
  /// is returned.
  Attended begin(Rendezvous const& r) {
    count(r);
    if (before_each) before_each(last_);
    return last_;
  }
  /// Only the counting, for messages that are waited for later.
  void count(Rendezvous const& r) {
    auto hash = fingerprint(r);
    std::int32_t nth = 0;
    if (is_message(r.exchange)) {
      messages_ += r.exchange == Exchange::send ? hash : -hash;
    } else {
      auto& log = log_of(r.line);
      hash = detail::mixed(hash, whereabouts_.code());
      log.hash = detail::mixed(log.hash, hash);
      nth = log.calls = log.calls % (1 << 30) + 1;
    }
    last_ = attended(r, nth);
    last_.hash = hash;
    auto const i = sheet_.came.load(std::memory_order_relaxed);
    sheet_.past[static_cast<std::size_t>(i % Sheet::kept)].store(last_);
    sheet_.came.store(i + 1, std::memory_order_release);
  }

  /// Over all ranks of the job these add up to 0, modulo 2^64, if on each line all ranks have come
  /// to the same exchanges in the same order, and every message has its receiver; else they
  /// almost surely do not.
  std::uint64_t balance() const {
    auto sum = messages_;
    for (auto const& log : lines_) {
      auto const all = detail::mixed(log.hash, fingerprint(log.line));
      auto const n = static_cast<std::uint64_t>(log.line.count);
      sum += log.line.place == 0 ? (n - 1) * all : -all;
    }
    return sum;
  }

  /// Seconds in exchanges since the last call.
  double take_waited() { return std::exchange(waited_, 0.0); }

  /// The exchanges that are remembered, oldest first.
  std::vector<Attended> past() const { return past_of(sheet_); }
  static std::vector<Attended> past_of(Sheet const& sheet) {
    std::vector<Attended> all;
    auto const came = sheet.came.load(std::memory_order_acquire);
    for (auto n = std::max<std::int64_t>(0, came - Sheet::kept); n < came; ++n)
      all.push_back(sheet.past[static_cast<std::size_t>(n % Sheet::kept)].load());
    return all;
  }

  /// Called before each exchange but messages under way, if it is set.
  std::function<void(Attended const&)> before_each;

 private:
  struct LineLog {
    Line line;
    std::uint64_t hash = 0;
    std::int32_t calls = 0;
  };

  Stay stay(Attended const& at) {
    sheet_.present.store(at);
    entered_ = Clock::now();
    sheet_.inside.store(1, std::memory_order_release);
    return Stay(this);
  }
  LineLog& log_of(Line line) {
    for (auto& log : lines_)
      if (log.line == line) return log;
    return lines_.emplace_back(LineLog{line});
  }
  Attended attended(Rendezvous const& r, std::int32_t nth) const {
    Attended a;
    a.bytes = r.bytes;
    a.first = static_cast<std::int32_t>(r.line.first);
    a.stride = static_cast<std::int32_t>(r.line.stride);
    a.count = static_cast<std::int32_t>(r.line.count);
    a.place = static_cast<std::int32_t>(r.line.place);
    a.detail = static_cast<std::int32_t>(r.detail);
    a.nth = nth;
    a.exchange = static_cast<std::uint8_t>(r.exchange);
    a.element = r.element;
    auto const at = whereabouts_.within();
    std::copy_n(at.data(), std::min(at.size(), a.at.size() - 1), a.at.data());
    return a;
  }
  void leave() {
    sheet_.inside.store(0, std::memory_order_release);
    waited_ += std::chrono::duration<double>(Clock::now() - entered_).count();
  }

  Sheet& sheet_;
  Whereabouts const& whereabouts_;
  std::vector<LineLog> lines_;
  std::uint64_t messages_ = 0;
  Attended last_;
  double waited_ = 0;
  Clock::time_point entered_{};
};

}  // namespace nxd
