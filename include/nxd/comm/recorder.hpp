// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <compare>
#include <functional>
#include <map>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include <nxd/comm/attendance.hpp>
#include <nxd/comm/post.hpp>
#include <nxd/comm/reduce.hpp>
#include <nxd/comm/rendezvous.hpp>
#include <nxd/core/trace.hpp>

namespace nxd {

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

/// Rank r of n, without peers, for a dry run: nothing is sent, nothing comes, no element is
/// touched.
class Nobody {
 public:
  /// What is told of every exchange and what it sends, but for messages under way.
  using Toll = std::function<void(Call const&)>;

  /// @param ranks_per_node that follow each other; 0: all ranks are on one node
  Nobody(std::int64_t rank, std::int64_t size, Toll toll = {}, std::int64_t ranks_per_node = 0)
      : rank_(rank), size_(size), ranks_per_node_(ranks_per_node), toll_(std::move(toll)) {}

  std::int64_t rank() const { return rank_; }
  std::int64_t size() const { return size_; }
  void pay(Call const& call) const {
    if (toll_) toll_(call);
  }
  bool between_nodes(Line line) const {
    return ranks_per_node_ != 0 && line.stride >= ranks_per_node_;
  }

  template <Transferable T> void all_gather(Line, std::span<T const>, std::span<T>) const {}
  template <Transferable T> void all_to_all(Line, std::span<T const>, std::span<T>) const {}
  template <Transferable T> void reduce_scatter(Line, std::span<T const>, std::span<T>) const {}
  template <Transferable T> void all_reduce(Line, std::span<T>, Op) const {}
  template <Transferable T> void broadcast(Line, std::int64_t, std::span<T>) const {}
  template <Transferable T> void send(std::int64_t, int, std::span<T const>) const {}
  template <Transferable T> void receive(std::int64_t, int, std::span<T>) const {}
  void barrier() const {}

 private:
  std::int64_t rank_;
  std::int64_t size_;
  std::int64_t ranks_per_node_;
  Toll toll_;
};

static_assert(Communicator<Nobody>);

/// The name of an exchange in a trace.
struct ExchangeName {
  Exchange exchange;
  auto operator()() const { return spelling(exchange); }
};

/// An exchange of a line that goes on while this rank does something else; the time for which it is
/// waited is written down where the record writes by then.
struct Begun {
  Trace* const* trace = nullptr;
  Attendance* const* attendance = nullptr;
  Exchange exchange{};
  Attended at{};
  bool told = false;  ///< and so `at` is set

  /// While what is returned lives, this rank waits for the others.
  auto wait(char const* category = "wait") const {
    struct Waited {
      Traced<ExchangeName> span;
      Attendance::Stay stay;
    };
    bool const tells = told && *attendance != nullptr;
    return Waited{{*trace, category, ExchangeName{exchange}},
                  tells ? (*attendance)->wait(at) : Attendance::Stay()};
  }
};

/// A communicator that counts what this rank sends, and passes every call on. Bytes are those that
/// the rank sends where each byte crosses the wire no more often than it must: `ring` bytes, the
/// same for every transport. A reduction is one call, whatever exchanges it is made of.
///
///   all_gather      in (count - 1)          all_to_all       in (count - 1) / count
///   reduce_scatter  in (count - 1) / count  all_reduce       2 values (count - 1) / count
///   broadcast       data (count - 1) at the root, 0 elsewhere
///   send            data                    receive, barrier 0
///
/// Copies write into the same record. It asks for memory when a sort of exchange is new, and no
/// more, unless it is to keep every call.
template <Communicator C> class Recorder {
  using Stay = Attendance::Stay;

  struct Record {
    std::map<Sort, Traffic> totals;
    std::vector<Call> calls;
    bool keeps_calls = false;
    Trace* trace = nullptr;
    Attendance* attendance = nullptr;
  };

  /// A message under way; the time for which it is waited is written down.
  template <class Message> struct Awaited {
    Message message;
    Rendezvous what;
    Record* record;

    void wait() {
      Traced const span(record->trace, "wait", [] { return "message"; });
      auto const stay = record->attendance != nullptr ? record->attendance->wait(what) : Stay();
      message.wait();
    }
  };

 public:
  explicit Recorder(C inner, bool keeps_calls = false) : inner_(std::move(inner)) {
    record_->keeps_calls = keeps_calls;
  }

  std::int64_t rank() const { return inner_.rank(); }
  std::int64_t size() const { return inner_.size(); }

  /// What is recorded, without the record.
  C& inner() { return inner_; }

  /// Where the time of every exchange is written from now on; nullptr: nowhere.
  void write_to(Trace* trace) { record_->trace = trace; }

  /// Who is told of every exchange, before and after, from now on; nullptr: nobody.
  void tell(Attendance* attendance) { record_->attendance = attendance; }

  template <Transferable T> void all_gather(Line line, std::span<T const> in, std::span<T> out) {
    Rendezvous const r{Exchange::all_gather, element_code<T>(), line, bytes(in)};
    auto const noted = note(r, peers(line), bytes(in) * peers(line));
    inner_.all_gather(line, in, out);
  }
  template <Transferable T> void all_to_all(Line line, std::span<T const> in, std::span<T> out) {
    Rendezvous const r{Exchange::all_to_all, element_code<T>(), line, bytes(in)};
    auto const noted = note(r, peers(line), bytes(in) / line.count * peers(line));
    inner_.all_to_all(line, in, out);
  }
  template <Transferable T> void broadcast(Line line, std::int64_t root, std::span<T> data) {
    auto const sends = line.place == root ? peers(line) : 0;
    Rendezvous const r{Exchange::broadcast, element_code<T>(), line, bytes(data), root};
    auto const noted = note(r, sends, bytes(data) * sends);
    inner_.broadcast(line, root, data);
  }
  template <Transferable T>
  void reduce_scatter(Line line, std::span<T const> in, std::span<T> out) {
    Rendezvous const r{Exchange::reduce_scatter, element_code<T>(), line, bytes(in)};
    auto const noted = note(r, peers(line), bytes(in) / line.count * peers(line));
    nxd::reduce_scatter(inner_, line, in, out);
  }
  template <Transferable T> void all_reduce(Line line, std::span<T> values, Op op) {
    Rendezvous const r{Exchange::all_reduce, element_code<T>(), line, bytes(values),
                       static_cast<std::int64_t>(op)};
    auto const noted = note(r, 2 * peers(line), 2 * bytes(values) * peers(line) / line.count);
    nxd::all_reduce(inner_, line, values, op);
  }
  template <Transferable T> void send(std::int64_t to, int tag, std::span<T const> data) {
    auto const noted = note(message<T>(Exchange::send, to, tag, data.size()), 1, bytes(data));
    inner_.send(to, tag, data);
  }
  template <Transferable T> void receive(std::int64_t from, int tag, std::span<T> data) {
    auto const noted = note(message<T>(Exchange::receive, from, tag, data.size()), 0, 0);
    inner_.receive(from, tag, data);
  }
  template <Transferable T> auto post_send(std::int64_t to, int tag, std::span<T const> data) {
    auto const r = message<T>(Exchange::send, to, tag, data.size());
    post(r, 1, bytes(data));
    return awaited(nxd::post_send(inner_, to, tag, data), r);
  }
  template <Transferable T> auto post_receive(std::int64_t from, int tag, std::span<T> data) {
    auto const r = message<T>(Exchange::receive, from, tag, data.size());
    post(r, 0, 0);
    return awaited(nxd::post_receive(inner_, from, tag, data), r);
  }
  /// A reduction or a gather along a line begins, which goes on by `inner()`: see
  /// `PostedReduction`, `PostedGather` and `MadeInPlace`. It is counted, and told, as if it were
  /// over now.
  Begun begin(Rendezvous const& r) {
    auto const messages = (r.exchange == Exchange::all_reduce ? 2 : 1) * peers(r.line);
    auto const sent = r.bytes * messages / (r.exchange == Exchange::all_gather ? 1 : r.line.count);
    count(r, messages, sent);
    auto const span = written(r, messages, sent);
    Begun begun{&record_->trace, &record_->attendance, r.exchange};
    if (auto* const attendance = record_->attendance)
      begun.at = attendance->begin(r), begun.told = true;
    return begun;
  }
  bool between_nodes(Line line) { return nxd::between_nodes(inner_, line); }
  void barrier() {
    auto const noted = note({Exchange::barrier, 0, {0, 1, size(), rank()}, 0}, 0, 0);
    inner_.barrier();
  }

  /// The traffic of each sort of exchange.
  std::map<Sort, Traffic> const& totals() const { return record_->totals; }

  /// All traffic of this rank.
  Traffic total() const {
    Traffic sum;
    for (auto const& [sort, traffic] : record_->totals) sum += traffic;
    return sum;
  }

  /// Every call so far, in order, if calls are kept.
  std::vector<Call> const& calls() const { return record_->calls; }

  /// Forgets what is written, so that a record can be of one step.
  void clear() {
    record_->totals.clear();
    record_->calls.clear();
  }

 private:
  template <class T> static std::int64_t bytes(std::span<T> data) {
    return static_cast<std::int64_t>(data.size_bytes());
  }
  static std::int64_t peers(Line line) { return line.count - 1; }

  Line between(std::int64_t other) const {
    auto const low = std::min(rank(), other), high = std::max(rank(), other);
    return {low, high - low, 2, rank() == low ? 0 : 1};
  }

  template <class T>
  Rendezvous message(Exchange exchange, std::int64_t other, int tag, std::size_t n) const {
    return {exchange, element_code<T>(), between(other), static_cast<std::int64_t>(n * sizeof(T)),
            tag};
  }

  void count(Rendezvous const& r, std::int64_t messages, std::int64_t sent) {
    record_->totals[{r.exchange, r.line.stride, r.line.count}] += {1, messages, sent};
    if (record_->keeps_calls) record_->calls.push_back({r.exchange, r.line, messages, sent});
  }
  void post(Rendezvous const& r, std::int64_t messages, std::int64_t sent) {
    count(r, messages, sent);
    if (record_->attendance != nullptr) record_->attendance->count(r);
  }

  /// Until it ends, this rank is in an exchange.
  struct Noted {
    Traced<ExchangeName> span;
    Stay stay;
  };

  /// Counts a call; what is returned lives as long as it takes.
  auto note(Rendezvous const& r, std::int64_t messages, std::int64_t sent) {
    count(r, messages, sent);
    auto* const attendance = record_->attendance;
    return Noted{written(r, messages, sent), attendance != nullptr ? attendance->enter(r) : Stay()};
  }

  /// The call is paid for, and in the trace while what is returned lives.
  auto written(Rendezvous const& r, std::int64_t messages, std::int64_t sent) {
    if constexpr (requires(Call call) { inner_.pay(call); })
      inner_.pay({r.exchange, r.line, messages, sent});
    return Traced(record_->trace, "exchange", ExchangeName{r.exchange}, sent);
  }

  template <class Message> auto awaited(Message message, Rendezvous const& r) {
    return Awaited<Message>{std::move(message), r, record_.get()};
  }

  C inner_;
  std::shared_ptr<Record> record_ = std::make_shared<Record>();
};

static_assert(PostingCommunicator<Recorder<Nobody>>);

template <> inline constexpr bool keeps_record<Recorder<Nobody>> = true;

namespace detail {

/// What carries the messages of a communicator: the one inside a record, which takes note of the
/// whole exchange and not of each of them.
template <class C> constexpr auto& carrier(C& comm) {
  if constexpr (requires { comm.inner(); })
    return comm.inner();
  else
    return comm;
}

}  // namespace detail

/// A communicator whose traffic is counted.
template <class C>
concept Recorded = Communicator<C> && requires(C const& comm) {
  { comm.total() } -> std::same_as<Traffic>;
};

}  // namespace nxd
