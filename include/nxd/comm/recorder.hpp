// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <map>
#include <memory>
#include <nxd/comm/reduce.hpp>
#include <utility>
#include <vector>

namespace nxd {

/// What a rank can be asked to do with its peers.
enum class Exchange : std::uint8_t {
  all_gather,
  all_to_all,
  broadcast,
  all_reduce,
  reduce_scatter,
  send,
  receive,
  barrier,
};

/// What this rank has put on the wire.
struct Traffic {
  std::int64_t calls = 0;
  std::int64_t messages = 0;
  std::int64_t bytes = 0;

  constexpr Traffic& operator+=(Traffic const& other) {
    calls += other.calls;
    messages += other.messages;
    bytes += other.bytes;
    return *this;
  }
  bool operator==(Traffic const&) const = default;
};

/// One exchange. A message is a line of two, from the lower rank to the higher.
struct Call {
  Exchange exchange;
  Line line;
  std::int64_t messages;
  std::int64_t bytes;
};

/// Exchanges of one sort: those along lines of equal stride and count are along the same axis.
struct Sort {
  Exchange exchange;
  std::int64_t stride;
  std::int64_t count;
  auto operator<=>(Sort const&) const = default;
};

/// Rank r of n, without peers: what it would receive from others, it receives from itself, and its
/// messages are lost. For a dry run; the values that it computes mean nothing.
class Nobody {
 public:
  constexpr Nobody(std::int64_t rank, std::int64_t size) : rank_(rank), size_(size) {}

  constexpr std::int64_t rank() const { return rank_; }
  constexpr std::int64_t size() const { return size_; }

  template <Transferable T>
  void all_gather(Line line, std::span<T const> in, std::span<T> out) const {
    for (std::int64_t peer = 0; peer < line.count; ++peer)
      std::ranges::copy(in, out.begin() + peer * std::ssize(in));
  }
  template <Transferable T> void all_to_all(Line, std::span<T const> in, std::span<T> out) const {
    std::ranges::copy(in, out.begin());
  }
  template <Transferable T> void broadcast(Line, std::int64_t, std::span<T>) const {}
  template <Transferable T> void send(std::int64_t, int, std::span<T const>) const {}
  template <Transferable T> void receive(std::int64_t, int, std::span<T> data) const {
    std::ranges::fill(data, T{});
  }
  void barrier() const {}

 private:
  std::int64_t rank_;
  std::int64_t size_;
};

static_assert(Communicator<Nobody>);

/// A communicator that writes down every call of this rank and passes it on. Bytes are those that
/// the rank sends where each byte crosses the wire no more often than it must: `ring` bytes, the
/// same for every transport. A reduction is one call, whatever exchanges it is made of.
///
///   all_gather      in (count - 1)          all_to_all       in (count - 1) / count
///   reduce_scatter  in (count - 1) / count  all_reduce       2 values (count - 1) / count
///   broadcast       data (count - 1) at the root, 0 elsewhere
///   send            data                    receive, barrier 0
///
/// Copies write into the same record.
template <Communicator C> class Recorder {
 public:
  explicit Recorder(C inner) : inner_(std::move(inner)) {}

  std::int64_t rank() const { return inner_.rank(); }
  std::int64_t size() const { return inner_.size(); }

  template <Transferable T> void all_gather(Line line, std::span<T const> in, std::span<T> out) {
    note(Exchange::all_gather, line, peers(line), bytes(in) * peers(line));
    inner_.all_gather(line, in, out);
  }
  template <Transferable T> void all_to_all(Line line, std::span<T const> in, std::span<T> out) {
    note(Exchange::all_to_all, line, peers(line), bytes(in) / line.count * peers(line));
    inner_.all_to_all(line, in, out);
  }
  template <Transferable T> void broadcast(Line line, std::int64_t root, std::span<T> data) {
    auto const sends = line.place == root ? peers(line) : 0;
    note(Exchange::broadcast, line, sends, bytes(data) * sends);
    inner_.broadcast(line, root, data);
  }
  template <Transferable T>
  void reduce_scatter(Line line, std::span<T const> in, std::span<T> out) {
    note(Exchange::reduce_scatter, line, peers(line), bytes(in) / line.count * peers(line));
    nxd::reduce_scatter(inner_, line, in, out);
  }
  template <Transferable T> void all_reduce(Line line, std::span<T> values, Op op) {
    note(Exchange::all_reduce, line, 2 * peers(line), 2 * bytes(values) * peers(line) / line.count);
    nxd::all_reduce(inner_, line, values, op);
  }
  template <Transferable T> void send(std::int64_t to, int tag, std::span<T const> data) {
    note(Exchange::send, between(to), 1, bytes(data));
    inner_.send(to, tag, data);
  }
  template <Transferable T> void receive(std::int64_t from, int tag, std::span<T> data) {
    note(Exchange::receive, between(from), 0, 0);
    inner_.receive(from, tag, data);
  }
  void barrier() {
    note(Exchange::barrier, {0, 1, size(), rank()}, 0, 0);
    inner_.barrier();
  }

  /// Every call so far, in order.
  std::vector<Call> const& calls() const { return *calls_; }

  /// The traffic of each sort of exchange.
  std::map<Sort, Traffic> totals() const {
    std::map<Sort, Traffic> sums;
    for (auto const& c : *calls_)
      sums[{c.exchange, c.line.stride, c.line.count}] += {1, c.messages, c.bytes};
    return sums;
  }

  /// All traffic of this rank.
  Traffic total() const {
    Traffic sum;
    for (auto const& c : *calls_) sum += {1, c.messages, c.bytes};
    return sum;
  }

  /// Forgets what is written, so that a record can be of one step.
  void clear() { calls_->clear(); }

 private:
  template <class T> static std::int64_t bytes(std::span<T> data) {
    return static_cast<std::int64_t>(data.size_bytes());
  }
  static std::int64_t peers(Line line) { return line.count - 1; }

  Line between(std::int64_t other) const {
    auto const low = std::min(rank(), other), high = std::max(rank(), other);
    return {low, high - low, 2, rank() == low ? 0 : 1};
  }

  void note(Exchange exchange, Line line, std::int64_t messages, std::int64_t sent) {
    calls_->push_back({exchange, line, messages, sent});
  }

  C inner_;
  std::shared_ptr<std::vector<Call>> calls_ = std::make_shared<std::vector<Call>>();
};

static_assert(Communicator<Recorder<Nobody>>);

}  // namespace nxd
