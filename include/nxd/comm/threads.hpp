// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <vector>

#include <nxd/comm/communicator.hpp>
#include <nxd/core/error.hpp>

namespace nxd {

/// The ranks of one process: for tests, for a debugger, for a race detector. Members of a line meet in
/// each of its collectives and read from each other's memory.
class Threads {
  /// What a member shows to the others of its line.
  struct Shown {
    void const* data = nullptr;
    std::size_t bytes = 0;
    std::string_view operation{};
  };

  /// Where the members of one line meet.
  struct Place {
    std::vector<Shown> shown;
    std::int64_t waiting = 0;
    std::uint64_t round = 0;
  };

 public:
  /// One rank: a communicator.
  class Rank {
   public:
    Rank(Threads& all, std::int64_t rank) : all_(&all), rank_(rank) {}

    std::int64_t rank() const { return rank_; }
    std::int64_t size() const { return all_->size_; }

    template <Transferable T>
    void all_gather(Line line, std::span<T const> in, std::span<T> out) {
      meet(line, {in.data(), in.size_bytes(), "all_gather"}, [&](Place const& place) {
        for (std::int64_t peer = 0; peer < line.count; ++peer)
          std::copy_n(seen<T>(place, peer), in.size(), out.begin() + peer * std::ssize(in));
      });
    }

    template <Transferable T>
    void all_to_all(Line line, std::span<T const> in, std::span<T> out) {
      auto const block = std::ssize(in) / line.count;
      meet(line, {in.data(), in.size_bytes(), "all_to_all"}, [&](Place const& place) {
        for (std::int64_t peer = 0; peer < line.count; ++peer)
          std::copy_n(seen<T>(place, peer) + line.place * block, block,
                      out.begin() + peer * block);
      });
    }

    template <Transferable T>
    void broadcast(Line line, std::int64_t root, std::span<T> data) {
      meet(line, {data.data(), data.size_bytes(), "broadcast"}, [&](Place const& place) {
        if (line.place != root) std::copy_n(seen<T>(place, root), data.size(), data.begin());
      });
    }

    /// A message; it is copied, and so the sender goes on at once.
    template <Transferable T>
    void send(std::int64_t to, int tag, std::span<T const> data) {
      auto const bytes = std::as_bytes(data);
      std::lock_guard const lock(all_->mutex_);
      all_->mail_[{rank_, to, tag}].emplace_back(bytes.begin(), bytes.end());
      all_->changed_.notify_all();
    }

    template <Transferable T>
    void receive(std::int64_t from, int tag, std::span<T> data) {
      std::unique_lock lock(all_->mutex_);
      auto& mail = all_->mail_[{from, rank_, tag}];
      all_->wait(lock, [&] { return !mail.empty(); });
      auto const message = std::move(mail.front());
      mail.pop_front();
      if (message.size() != data.size_bytes())
        throw Error(ExitCode::desync, "rank " + std::to_string(rank_) + " expects " +
                                          std::to_string(data.size_bytes()) + " bytes from rank " +
                                          std::to_string(from) + ", which sent " +
                                          std::to_string(message.size()));
      if (!message.empty()) std::memcpy(data.data(), message.data(), message.size());
    }

    void barrier() {
      meet({0, 1, size(), rank_}, {nullptr, 0, "barrier"}, [](Place const&) {});
    }

   private:
    template <class T>
    static T const* seen(Place const& place, std::int64_t peer) {
      return static_cast<T const*>(place.shown[static_cast<std::size_t>(peer)].data);
    }

    /// Shows `mine` to the line while all of its members read.
    void meet(Line line, Shown mine, auto const& read) {
      auto& place = all_->place_of(line);
      all_->arrive(place, line, [&] { place.shown[static_cast<std::size_t>(line.place)] = mine; });
      for (std::size_t peer = 0; peer < place.shown.size(); ++peer) {
        auto const& other = place.shown[peer];
        if (other.bytes == mine.bytes && other.operation == mine.operation) continue;
        throw Error(ExitCode::desync,
                    "rank " + std::to_string(rank_) + " calls " + std::string(mine.operation) + " with " +
                        std::to_string(mine.bytes) + " bytes, but rank " +
                        std::to_string(line.rank(static_cast<std::int64_t>(peer))) + " calls " +
                        std::string(other.operation) + " with " + std::to_string(other.bytes));
      }
      read(place);
      all_->arrive(place, line, [] {});
    }

    Threads* all_;
    std::int64_t rank_;
  };

  /// Runs `program(Rank)` once per rank. If one fails, the others are released from where they wait.
  /// @throws what the first rank to fail has thrown
  template <class Program>
  static void run(std::int64_t ranks, Program program) {
    Threads all(ranks);
    {
      std::vector<std::jthread> threads;
      for (std::int64_t r = 0; r < ranks; ++r)
        threads.emplace_back([&all, &program, r] { all.guard(program, r); });
    }
    if (all.failure_) std::rethrow_exception(all.failure_);
  }

 private:
  /// Another rank has failed: nobody will come.
  struct Released {};

  explicit Threads(std::int64_t ranks) : size_(ranks) {}

  void guard(auto& program, std::int64_t rank) {
    try {
      program(Rank(*this, rank));
    } catch (Released const&) {
    } catch (...) {
      std::lock_guard const lock(mutex_);
      if (!failure_) failure_ = std::current_exception();
      changed_.notify_all();
    }
  }

  void wait(std::unique_lock<std::mutex>& lock, auto const& done) {
    changed_.wait(lock, [&] { return done() || failure_; });
    if (!done()) throw Released{};
  }

  Place& place_of(Line line) {
    std::lock_guard const lock(mutex_);
    auto& place = places_[{line.first, line.stride, line.count}];
    place.shown.resize(static_cast<std::size_t>(line.count));
    return place;
  }

  /// Waits until all members of the line have come.
  void arrive(Place& place, Line line, auto const& show) {
    std::unique_lock lock(mutex_);
    show();
    if (++place.waiting == line.count) {
      place.waiting = 0;
      ++place.round;
      changed_.notify_all();
      return;
    }
    wait(lock, [&place, round = place.round] { return place.round != round; });
  }

  std::int64_t size_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::tuple<std::int64_t, std::int64_t, std::int64_t>, Place> places_;
  std::map<std::tuple<std::int64_t, std::int64_t, int>, std::deque<std::vector<std::byte>>> mail_;
  std::exception_ptr failure_;
};

static_assert(Communicator<Threads::Rank>);

}  // namespace nxd
