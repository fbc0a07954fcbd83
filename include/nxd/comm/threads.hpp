// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
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
#include <typeinfo>
#include <vector>

#include <nxd/comm/reduce.hpp>
#include <nxd/core/error.hpp>

namespace nxd {

/// The ranks of one process: for tests, for a debugger, for a race detector.
/// Members of a line meet in each of its collectives, nobody else does, and
/// they read from each other's memory.
class Threads {
  /// What a member shows to the others of its line: where its data is, and what
  /// it takes the call for.
  struct Shown {
    void const* data = nullptr;
    std::size_t bytes = 0;
    std::string_view operation{};
    std::int64_t detail = 0;  ///< root or operator
    std::type_info const* element = &typeid(void);
    std::string_view element_name{};

    bool same_call(Shown const& other) const {
      return bytes == other.bytes && operation == other.operation && detail == other.detail &&
             *element == *other.element;
    }
    std::string text() const {
      auto said = std::string(operation) + " of " + std::to_string(bytes) + " bytes";
      if (!element_name.empty()) said += " of " + std::string(element_name);
      return detail == 0 ? said : said + " (" + std::to_string(detail) + ")";
    }
  };

  /// Where the members of one line meet.
  struct Place {
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<Shown> shown;
    std::int64_t waiting = 0;
    std::uint64_t round = 0;
  };

  /// What lies ready for one rank, in the order in which it was sent.
  struct Mailbox {
    struct Message {
      std::int64_t from;
      int tag;
      std::vector<std::byte> bytes;
      Shown said;
    };
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<Message> messages;

    /// The first message of a sender and a tag, or the end.
    auto find(std::int64_t from, int tag) {
      auto at = messages.begin();
      while (at != messages.end() && (at->from != from || at->tag != tag)) ++at;
      return at;
    }
  };

 public:
  /// One rank: a communicator.
  class Rank {
   public:
    Rank(Threads& all, std::int64_t rank) : all_(&all), rank_(rank) {}

    std::int64_t rank() const { return rank_; }
    std::int64_t size() const { return std::ssize(all_->mail_); }

    template <Transferable T> void all_gather(Line line, std::span<T const> in, std::span<T> out) {
      NXD_EXPECTS(std::ssize(out) == std::ssize(in) * line.count);
      meet(line, shown("all_gather", in), [&](Place& place) {
        for (std::int64_t peer = 0; peer < line.count; ++peer)
          std::copy_n(seen<T>(place, peer), in.size(), out.begin() + peer * std::ssize(in));
      });
    }

    /// See `nxd::all_gather_in_place`.
    template <Transferable T> void all_gather_in_place(Line line, std::span<T> all) {
      auto const n = std::ssize(all) / line.count;
      auto const mine =
          all.subspan(static_cast<std::size_t>(line.place * n), static_cast<std::size_t>(n));
      meet(line, shown("all_gather", std::span<T const>(mine)), [&](Place& place) {
        for (std::int64_t peer = 0; peer < line.count; ++peer)
          if (peer != line.place) std::copy_n(seen<T>(place, peer), n, all.begin() + peer * n);
      });
    }

    template <Transferable T> void all_to_all(Line line, std::span<T const> in, std::span<T> out) {
      NXD_EXPECTS(out.size() == in.size() && std::ssize(in) % line.count == 0);
      auto const block = std::ssize(in) / line.count;
      meet(line, shown("all_to_all", in), [&](Place& place) {
        for (std::int64_t peer = 0; peer < line.count; ++peer)
          std::copy_n(seen<T>(place, peer) + line.place * block, block, out.begin() + peer * block);
      });
    }

    template <Transferable T> void broadcast(Line line, std::int64_t root, std::span<T> data) {
      meet(line, shown("broadcast", std::span<T const>(data), root), [&](Place& place) {
        if (line.place != root) std::copy_n(seen<T>(place, root), data.size(), data.begin());
      });
    }

    /// Sums in rank order, straight from the peers' memory: see
    /// `nxd::reduce_scatter`.
    template <Transferable T>
    void reduce_scatter(Line line, std::span<T const> in, std::span<T> out) {
      NXD_EXPECTS(std::ssize(in) == std::ssize(out) * line.count);
      meet(line, shown("reduce_scatter", in), [&](Place& place) {
        auto const mine = line.place * std::ssize(out);
        detail::join<T>(
            Op::sum, line.count, [&](std::int64_t peer) { return seen<T>(place, peer) + mine; },
            out);
      });
    }

    /// Joins in rank order, straight from the peers' memory: see
    /// `nxd::all_reduce`. Each rank joins the slice that only it touches, in
    /// place; then all copy the slices of the others.
    template <Transferable T> void all_reduce(Line line, std::span<T> values, Op op) {
      auto const n = std::ssize(values), block = (n + line.count - 1) / line.count;
      auto const slice = [&](std::int64_t of) {
        return std::pair(std::min(n, of * block), std::min(n, (of + 1) * block));
      };
      meet(line, shown("all_reduce", std::span<T const>(values), static_cast<std::int64_t>(op)),
           [&](Place& place) {
             auto const mine = slice(line.place);
             detail::join<T>(
                 op, line.count,
                 [&](std::int64_t peer) { return seen<T>(place, peer) + mine.first; },
                 values.subspan(static_cast<std::size_t>(mine.first),
                                static_cast<std::size_t>(mine.second - mine.first)));
             all_->arrive(place, line);
             for (std::int64_t peer = 0; peer < line.count; ++peer) {
               auto const [from, to] = slice(peer);
               if (peer != line.place)
                 std::copy(seen<T>(place, peer) + from, seen<T>(place, peer) + to,
                           values.begin() + from);
             }
           });
    }

    /// A message; it is copied, and so the sender goes on at once.
    template <Transferable T> void send(std::int64_t to, int tag, std::span<T const> data) {
      auto& box = all_->mailbox(to);
      auto const bytes = std::as_bytes(data);
      {
        std::lock_guard const lock(box.mutex);
        box.messages.push_back({rank_, tag, {bytes.begin(), bytes.end()}, shown("message", data)});
      }
      box.changed.notify_all();
    }

    template <Transferable T> void receive(std::int64_t from, int tag, std::span<T> data) {
      auto& box = all_->mailbox(rank_);
      std::unique_lock lock(box.mutex);
      auto first = box.messages.end();
      box.changed.wait(lock, [&] {
        first = box.find(from, tag);
        return first != box.messages.end() || all_->failed_;
      });
      if (first == box.messages.end()) throw Released{};
      auto const message = std::move(*first);
      box.messages.erase(first);
      lock.unlock();
      auto const wanted = shown("message", std::span<T const>(data));
      if (!wanted.same_call(message.said))
        throw Error(ExitCode::desync, "rank " + std::to_string(rank_) + " waits for a " +
                                          wanted.text() + ", but rank " + std::to_string(from) +
                                          " sent a " + message.said.text());
      if (!message.bytes.empty())
        std::memcpy(data.data(), message.bytes.data(), message.bytes.size());
    }

    void barrier() {
      meet({0, 1, size(), rank_}, shown("barrier", std::span<std::byte const>()), [](Place&) {});
    }

   private:
    template <class T>
    static Shown shown(std::string_view operation, std::span<T const> data,
                       std::int64_t detail = 0) {
      return {data.data(), data.size_bytes(), operation, detail, &typeid(T), element_name<T>()};
    }

    template <class T> static T const* seen(Place const& place, std::int64_t peer) {
      return static_cast<T const*>(place.shown[static_cast<std::size_t>(peer)].data);
    }

    /// Shows `mine` to the line while all of its members read. Who leaves early
    /// does so before anyone reads; from then on all stay until the last has
    /// read.
    void meet(Line line, Shown mine, auto const& read) {
      auto& place = all_->place_of(line);
      all_->come(place, line, mine);
      for (std::int64_t peer = 0; peer < line.count; ++peer)
        if (auto const& other = place.shown[static_cast<std::size_t>(peer)]; !mine.same_call(other))
          throw Error(ExitCode::desync, "rank " + std::to_string(rank_) + " calls " + mine.text() +
                                            ", but rank " + std::to_string(line.rank(peer)) +
                                            " calls " + other.text());
      read(place);
      all_->arrive(place, line);
    }

    Threads* all_;
    std::int64_t rank_;
  };

  /// Runs `program(Rank)` once per rank. If one fails, the others are released
  /// from where they wait.
  /// @throws what the first rank to fail has thrown
  template <class Program> static void run(std::int64_t ranks, Program program) {
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

  explicit Threads(std::int64_t ranks) : mail_(static_cast<std::size_t>(ranks)) {}

  template <class T> static constexpr std::string_view element_name() {
    if constexpr (requires { dtype_of<T>::value; })
      return name(dtype_v<T>);
    else
      return {};
  }

  void guard(auto& program, std::int64_t rank) {
    try {
      program(Rank(*this, rank));
    } catch (Released const&) {
    } catch (...) {
      fail(std::current_exception());
    }
  }

  /// Keeps the first failure, and wakes all who wait.
  void fail(std::exception_ptr why) {
    std::lock_guard const lock(mutex_);
    if (!failure_) failure_ = std::move(why);
    failed_ = true;
    auto const wake = [](auto& waiters) {
      { std::lock_guard const after_their_check(waiters.mutex); }
      waiters.changed.notify_all();
    };
    for (auto& [line, place] : places_) wake(place);
    for (auto& box : mail_) wake(box);
  }

  Mailbox& mailbox(std::int64_t rank) {
    NXD_EXPECTS(rank >= 0 && rank < std::ssize(mail_));
    return mail_[static_cast<std::size_t>(rank)];
  }

  Place& place_of(Line line) {
    std::lock_guard const lock(mutex_);
    auto& place = places_[{line.first, line.stride, line.count}];
    if (place.shown.empty()) place.shown.resize(static_cast<std::size_t>(line.count));
    return place;
  }

  /// Comes to a line with something to show, and waits for its other members.
  void come(Place& place, Line line, Shown const& mine) {
    std::unique_lock lock(place.mutex);
    place.shown[static_cast<std::size_t>(line.place)] = mine;
    auto const round = place.round;
    if (last(place, line)) return;
    place.changed.wait(lock, [&] { return place.round != round || failed_; });
    if (place.round != round) return;
    --place.waiting;  // or the others would take it for present
    throw Released{};
  }

  /// Waits for the other members of a line, all of which are sure to come.
  void arrive(Place& place, Line line) {
    std::unique_lock lock(place.mutex);
    auto const round = place.round;
    if (last(place, line)) return;
    place.changed.wait(lock, [&] { return place.round != round; });
  }

  /// Counts one more member in; the last one opens the door for all.
  static bool last(Place& place, Line line) {
    if (++place.waiting < line.count) return false;
    place.waiting = 0;
    ++place.round;
    place.changed.notify_all();
    return true;
  }

  std::mutex mutex_;
  std::atomic<bool> failed_ = false;
  std::exception_ptr failure_;
  std::map<std::tuple<std::int64_t, std::int64_t, std::int64_t>, Place> places_;
  std::deque<Mailbox> mail_;
};

static_assert(Communicator<Threads::Rank>);

}  // namespace nxd
