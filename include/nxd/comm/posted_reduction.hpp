// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <optional>
#include <span>
#include <vector>

#include <nxd/comm/post.hpp>
#include <nxd/comm/recorder.hpp>

namespace nxd {

namespace detail {

/// n values in blocks, one for each rank of a line; the last ones may be short, or empty.
struct RankBlocks {
  std::size_t n, size;

  constexpr RankBlocks(std::size_t all, std::int64_t ranks)
      : n(all),
        size((all + static_cast<std::size_t>(ranks) - 1) / static_cast<std::size_t>(ranks)) {}
  constexpr std::size_t first(std::int64_t rank) const {
    return std::min(n, size * static_cast<std::size_t>(rank));
  }
  constexpr std::size_t length(std::int64_t rank) const { return first(rank + 1) - first(rank); }
};

}  // namespace detail

/// A sum over the ranks of a line that is under way while they do something else: each rank sends
/// every other one the block of its values that the other is to join. Sums are taken in rank order,
/// and have the bits of `reduce_scatter` and `all_reduce`; so has what a record tells of them, at
/// the moment of `post`. All ranks of a line post and wait in one order.
///
/// An object can be used again, and then asks for no memory. Messages: those of the exchange.
template <Communicator C, Transferable T> class PostedReduction {
  using Carrier = std::remove_reference_t<decltype(detail::carrier(std::declval<C&>()))>;
  using Sending =
      decltype(post_send(std::declval<Carrier&>(), 0, 0, std::declval<std::span<T const>>()));
  using Receiving =
      decltype(post_receive(std::declval<Carrier&>(), 0, 0, std::declval<std::span<T>>()));

 public:
  /// Elements of the room that `post` needs for n values: what the others send.
  static std::int64_t room(std::int64_t n, Line line) {
    detail::RankBlocks const blocks(static_cast<std::size_t>(n), line.count);
    return static_cast<std::int64_t>(blocks.length(line.place)) * (line.count - 1);
  }

  /// Begins. All memory must stay until `wait` has returned.
  /// @param what reduce_scatter, to `out` of one block, padded with zeros; or all_reduce, to `out`
  ///             of all values
  void post(C& comm, Line line, Exchange what, std::span<T const> in, std::span<T> room,
            std::span<T> out) {
    detail::RankBlocks const blocks(in.size(), line.count);
    NXD_EXPECTS(stage_ == Stage::over);
    NXD_EXPECTS(out.size() == (what == Exchange::all_reduce ? in.size() : blocks.size));
    carrier_ = &detail::carrier(comm);
    line_ = line, what_ = what, in_ = in, room_ = room, out_ = out;
    tell(comm, blocks);
    stage_ = Stage::values;
    each_peer([&](std::int64_t peer) { receive(peer, values_tag, from(peer)); });
    each_peer([&](std::int64_t peer) {
      send(peer, values_tag, in.subspan(blocks.first(peer), blocks.length(peer)));
    });
  }

  /// Goes on as far as it can without waiting. @return whether sums that were posted later may go
  /// on too: messages of second stages leave in the order of the sums
  bool advance() {
    if (stage_ != Stage::values) return true;
    for (auto& message : receiving_)
      if (!has_come(message)) return false;
    join();
    return true;
  }

  /// Returns when the sum is there, and nothing is read any more.
  void wait() {
    if (stage_ == Stage::over) return;
    [[maybe_unused]] auto const noted = note();
    if (stage_ == Stage::values) {
      for (auto& message : receiving_) message.wait();
      join();
    }
    for (auto& message : receiving_) message.wait();
    for (auto& message : sending_) message.wait();
    receiving_.clear(), sending_.clear();
    stage_ = Stage::over;
  }

 private:
  enum class Stage : std::uint8_t { over, values, results };
  // Messages of a pipeline are between other pairs of ranks; between two ranks they keep their
  // order, stage by stage.
  static constexpr int values_tag = 0x4e01, results_tag = 0x4e02;

  detail::RankBlocks blocks() const { return {in_.size(), line_.count}; }
  std::size_t own() const { return blocks().length(line_.place); }

  /// Where the values of a peer come to.
  std::span<T> from(std::int64_t peer) const {
    auto const slot = static_cast<std::size_t>(peer < line_.place ? peer : peer - 1);
    return room_.subspan(slot * own(), own());
  }

  /// Every rank begins with the one after it: no rank is everybody's first.
  void each_peer(auto const& f) const {
    for (std::int64_t i = 1; i < line_.count; ++i) f((line_.place + i) % line_.count);
  }
  void send(std::int64_t peer, int tag, std::span<T const> data) {
    if (!data.empty()) sending_.push_back(post_send(*carrier_, line_.rank(peer), tag, data));
  }
  void receive(std::int64_t peer, int tag, std::span<T> data) {
    if (!data.empty()) receiving_.push_back(post_receive(*carrier_, line_.rank(peer), tag, data));
  }

  static bool has_come(Receiving& message) {
    if constexpr (requires { message.done(); })
      return message.done();
    else
      return false;  // it is taken in when it is waited for
  }

  /// The values of all ranks are there.
  void join() {
    auto const all = blocks();
    bool const everywhere = what_ == Exchange::all_reduce;
    auto const sum = out_.subspan(everywhere ? all.first(line_.place) : 0, own());
    if constexpr (!keeps_record<C>) {
      auto const of = [&](std::int64_t rank) {
        return rank == line_.place ? in_.data() + all.first(rank)
                                   : static_cast<T const*>(from(rank).data());
      };
      detail::join<T>(Op::sum, line_.count, of, sum);
      if (!everywhere) std::fill(out_.begin() + std::ssize(sum), out_.end(), T{});
    }
    stage_ = Stage::results;
    receiving_.clear();
    if (!everywhere) return;
    each_peer([&](std::int64_t peer) {
      receive(peer, results_tag, out_.subspan(all.first(peer), all.length(peer)));
    });
    each_peer([&](std::int64_t peer) { send(peer, results_tag, sum); });
  }

  void tell([[maybe_unused]] C& comm, [[maybe_unused]] detail::RankBlocks const& blocks) {
    if constexpr (Recorded<C>) {
      bool const everywhere = what_ == Exchange::all_reduce;
      auto const n = everywhere ? blocks.n : blocks.size * static_cast<std::size_t>(line_.count);
      told_.emplace(comm.begin(
          Rendezvous{what_, element_code<T>(), line_, static_cast<std::int64_t>(n * sizeof(T))}));
    }
  }
  auto note() const {
    if constexpr (Recorded<C>)
      return told_->wait();
    else
      return 0;
  }

  Carrier* carrier_ = nullptr;
  Line line_{};
  Exchange what_ = Exchange::reduce_scatter;
  Stage stage_ = Stage::over;
  std::span<T const> in_{};
  std::span<T> room_{}, out_{};
  std::vector<Receiving> receiving_;
  std::vector<Sending> sending_;
  std::optional<Begun> told_;
};

}  // namespace nxd
