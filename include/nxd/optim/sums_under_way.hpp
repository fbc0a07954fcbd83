// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include <nxd/comm/posted_reduction.hpp>
#include <nxd/tensor/local.hpp>

namespace nxd {

/// Sums of gradients along lines that are under way, in the order in which they began. They end at
/// moments that depend on sizes alone, so that every run needs the same memory at the same moments.
template <class World, class T> class SumsUnderWay {
  using B = typename World::backend;
  using Buffer = typename B::template buffer<T>;

 public:
  /// Bytes of gradients that may be under way besides those of the first sum. Messages of some
  /// further weights wait behind it; more would only take memory.
  static constexpr std::int64_t most_behind = std::int64_t{32} << 20;

  /// Begins a sum of n values, which stay as they are: see `PostedReduction::post`. Others end if
  /// they must. Memory: what the others send, for as long as it goes on.
  void post(World& world, Line line, Exchange what, std::int64_t n, Buffer from, Buffer to,
            std::int64_t n_to) {
    auto const bytes = n * static_cast<std::int64_t>(sizeof(T));
    while (first_ < end_ && behind_first() + bytes > most_behind) finish_first();
    if (end_ == flights_.size()) flights_.emplace_back();
    auto& f = flights_[end_++];
    f.bytes = bytes;
    f.from = std::move(from), f.to = std::move(to);
    auto const room = Sum::room(n, line);
    For<B> const purpose(MemoryUse::messages);
    f.room = B::template allocate<T>(room);
    exchange<B>(world.comm, [&](auto& comm) {
      f.sum.post(comm, line, what, span<T const>(f.from, n), span<T>(f.room, room),
                 span<T>(f.to, n_to));
    });
  }

  /// Goes on with what has come.
  void poll() {
    for (auto i = first_; i < end_ && flights_[i].sum.advance(); ++i) {
    }
  }

  /// Returns when all sums are there.
  void finish() {
    while (first_ < end_) finish_first();
    first_ = end_ = 0;
  }

 private:
  using Sum = PostedReduction<typename World::communicator, T>;

  struct Flight {
    std::int64_t bytes = 0;
    Buffer from, room, to;
    Sum sum;
  };

  template <class E> static std::span<E> span(Buffer const& buffer, std::int64_t n) {
    if constexpr (B::has_elements)
      return {B::data(buffer), static_cast<std::size_t>(n)};
    else
      return {static_cast<E*>(nullptr), static_cast<std::size_t>(n)};
  }

  std::int64_t behind_first() const {
    std::int64_t sum = 0;
    for (auto i = first_ + 1; i < end_; ++i) sum += flights_[i].bytes;
    return sum;
  }
  void finish_first() {
    auto& f = flights_[first_++];
    f.sum.wait();
    f.from = f.room = f.to = {};
  }

  std::vector<Flight> flights_;
  std::size_t first_ = 0, end_ = 0;  ///< those that are under way
};

}  // namespace nxd
