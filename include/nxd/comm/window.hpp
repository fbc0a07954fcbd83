// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <nxd/comm/roll_call.hpp>
#include <nxd/comm/shared_memory.hpp>
#include <nxd/core/error.hpp>
#include <nxd/core/expects.hpp>
#include <nxd/dist/mesh.hpp>

namespace nxd {

/// Bytes of one of the two buffers that each of so many ranks has in their window. All of them
/// together stay near the cores' caches, and within what a small /dev/shm has.
constexpr std::size_t window_room(std::int64_t ranks) {
  constexpr std::size_t most = std::size_t{512} << 10, least = std::size_t{32} << 10;
  auto const share = (std::size_t{8} << 20) / static_cast<std::size_t>(ranks);
  return std::clamp(share / 4096 * 4096, least, most);
}

/// What a rank of a window says and where it writes lies at a place of its own: a seat. Two buffers
/// take turns, so that one meeting a turn is enough: what is written before a meeting may be read
/// until the next one, and is written over after it.
///
/// The memory is shared between processes, or between threads. It is counted nowhere else: neither
/// the arena nor a plan knows it. What ranks have in memory that all can map, they need not write
/// into buffers: they look at it where it is.
class Window {
  /// What a rank takes a call for.
  struct Said {
    std::array<char, 16> operation{};
    std::size_t bytes = 0;
    std::int64_t detail = 0;  ///< root or operator

    bool operator==(Said const&) const = default;
    std::string text() const {
      return std::string(operation.data()) + " of " + std::to_string(bytes) + " bytes" +
             (detail == 0 ? "" : " (" + std::to_string(detail) + ")");
    }
  };

  static constexpr std::size_t cache_line = 64;

  /// How often its rank has come to a meeting has a cache line of its own: all others watch it.
  struct Seat {
    alignas(cache_line) std::atomic<std::uint64_t> meetings = 0;
    alignas(cache_line) std::array<Said, 2> said{};
    std::array<SharedAddress, 2> shown{};
    std::array<bool, 2> sees_all{};
  };
  static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

 public:
  /// What a rank does while it waits, over and over: yields its core, at least.
  using Idle = void (*)();

  /// How long a rank waits before it is idle, in looks at a peer. Without a core for every rank a
  /// look is wasted.
  enum class Looks : int { none = 0, as_with_cores = 2000 };

  /// Bytes that each of so many ranks brings.
  static constexpr std::size_t bytes(std::int64_t ranks) {
    return sizeof(Seat) + 2 * window_room(ranks) + cache_line;
  }

  /// Makes a seat of what a rank brings, before any peer looks at it.
  static void furnish(std::byte* brought) { std::construct_at(seat_in(brought)); }

  /// `brought` are the pieces of memory of all ranks of the line, all of them furnished.
  Window(Line line, std::vector<std::byte*> const& brought, Idle idle, Looks looks)
      : line_(line), room_(window_room(line.count)), idle_(idle), looks_(looks) {
    NXD_EXPECTS(std::ssize(brought) == line.count);
    for (auto* const piece : brought) seats_.push_back(seat_in(piece));
  }

  std::int64_t count() const { return line_.count; }
  std::int64_t place() const { return line_.place; }

  /// Elements of a buffer.
  template <class T> std::size_t room() const { return room_ / sizeof(T); }

  /// Begins an exchange. At its first meeting all must say the same.
  void begin(std::string_view operation, std::size_t bytes, std::int64_t detail = 0) {
    Said mine{{}, bytes, detail};
    std::ranges::copy(operation.substr(0, mine.operation.size() - 1), mine.operation.begin());
    seats_[at(place())]->said[++calls_ % 2] = mine;
    begins_ = true;
  }

  /// Shows memory of this rank to the others, and looks for what they show: two meetings at the
  /// beginning of an exchange. False if it does not all lie where all can see it.
  template <class T> bool look_into(std::span<T> mine) {
    auto const parity = calls_ % 2;
    seats_[at(place())]->shown[parity] =
        SharedMemory::of_process().find(mine.data(), mine.size_bytes());
    meet();
    for (auto const* const seat : seats_)
      if (!seat->shown[parity]) return false;
    views_.resize(seats_.size());
    bool sees_all = true;
    for (std::size_t peer = 0; peer < seats_.size(); ++peer) {
      views_[peer] =
          peer == at(place()) ? bytes_of(mine) : mapped_->at(seats_[peer]->shown[parity]);
      sees_all = sees_all && views_[peer] != nullptr;
    }
    seats_[at(place())]->sees_all[parity] = sees_all;
    meet();
    return std::ranges::all_of(seats_, [=](Seat const* s) { return s->sees_all[parity]; });
  }

  /// What the rank at a place has shown. It stays as it is until the next meeting.
  template <class T> T* view(std::int64_t at_place) const {
    return reinterpret_cast<T*>(views_[at(at_place)]);
  }

  /// Writes elements [first, first + n) of what this rank has shown to where the others have shown
  /// as much. Any thread may.
  template <class T> void write_to_peers(std::int64_t first, std::int64_t n) const {
    for (std::int64_t peer = 0; peer < count(); ++peer)
      if (peer != place()) std::copy_n(view<T>(place()) + first, n, view<T>(peer) + first);
  }

  /// Where this rank writes before the next meeting.
  template <class T> T* mine() const { return buffer<T>(place(), turn_); }

  /// What a rank has written before the last meeting.
  template <class T> T const* seen(std::int64_t at_place) const {
    return buffer<T>(at_place, turn_ - 1);
  }

  /// Returns when all ranks of the line have come.
  /// @throws Error if they have come for something else
  void meet() {
    ++turn_;
    seats_[at(place())]->meetings.store(turn_, std::memory_order_release);
    for (std::int64_t peer = 0; peer < count(); ++peer) wait_for(seats_[at(peer)]->meetings);
    if (std::exchange(begins_, false)) check();
  }

 private:
  static std::size_t at(std::int64_t place) { return static_cast<std::size_t>(place); }

  template <class T> static std::byte* bytes_of(std::span<T> memory) {
    return reinterpret_cast<std::byte*>(const_cast<std::remove_const_t<T>*>(memory.data()));
  }

  /// MPI aligns what it shares to 8 bytes alone.
  static Seat* seat_in(std::byte* brought) {
    auto const address = reinterpret_cast<std::uintptr_t>(brought);
    auto const skipped = (cache_line - address % cache_line) % cache_line;
    return reinterpret_cast<Seat*>(brought + skipped);
  }

  template <class T> T* buffer(std::int64_t of, std::uint64_t turn) const {
    auto* const first = reinterpret_cast<std::byte*>(seats_[at(of)] + 1);
    return reinterpret_cast<T*>(first + turn % 2 * room_);
  }

  void wait_for(std::atomic<std::uint64_t> const& meetings) const {
    for (int look = 0; meetings.load(std::memory_order_acquire) < turn_; ++look)
      if (look < static_cast<int>(looks_))
        relax();
      else
        idle_();
  }

  static void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }

  void check() const {
    auto const& mine = seats_[at(place())]->said[calls_ % 2];
    for (std::int64_t peer = 0; peer < count(); ++peer)
      if (auto const& other = seats_[at(peer)]->said[calls_ % 2]; !(mine == other)) {
        auto const sentence = "rank " + std::to_string(line_.rank(place())) + " calls " +
                              mine.text() + ", but rank " + std::to_string(line_.rank(peer)) +
                              " calls " + other.text();
        auto const difference = RollCall::difference();
        throw Error(ExitCode::desync, difference.empty() ? sentence : difference);
      }
  }

  Line line_;
  std::size_t room_;
  Idle idle_;
  Looks looks_;
  std::vector<Seat*> seats_;
  std::vector<std::byte*> views_;
  std::unique_ptr<MappedMemory> mapped_ = std::make_unique<MappedMemory>();
  std::uint64_t turn_ = 1;
  std::uint64_t calls_ = 0;
  bool begins_ = false;
};

}  // namespace nxd
