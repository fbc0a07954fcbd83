// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <span>

#include <nxd/comm/posted_messages.hpp>

namespace nxd {

/// A sum over the ranks of a line that is under way while they do something else: each rank sends
/// every other one the block of its values that the other is to join. Sums are taken in rank order,
/// and have the bits of `reduce_scatter` and `all_reduce`; so has what a record tells of them, at
/// the moment of `post`. All ranks of a line post and wait in one order.
///
/// An object can be used again, and then asks for no memory. Messages: those of the exchange.
template <Communicator C, Transferable T> class PostedReduction {
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
    line_ = line, what_ = what, in_ = in, room_ = room, out_ = out;
    auto const n = everywhere() ? in.size() : blocks.size * static_cast<std::size_t>(line.count);
    messages_.begin(comm,
                    {what, element_code<T>(), line, static_cast<std::int64_t>(n * sizeof(T))});
    stage_ = Stage::values;
    messages_.each_peer([&](std::int64_t peer) {
      messages_.receive(peer, values_tag, std::as_writable_bytes(from(peer)));
    });
    messages_.each_peer([&](std::int64_t peer) {
      messages_.send(peer, values_tag,
                     std::as_bytes(in.subspan(blocks.first(peer), blocks.length(peer))));
    });
  }

  /// Goes on as far as it can without waiting. @return whether sums that were posted later may go
  /// on too: messages of second stages leave in the order of the sums
  bool advance() {
    if (stage_ == Stage::results) return messages_.have_come(), true;
    if (stage_ == Stage::over) return true;
    if (!messages_.have_come()) return false;
    join();
    return true;
  }

  /// Returns when the sum is there, and nothing is read any more.
  void wait() {
    if (stage_ == Stage::over) return;
    [[maybe_unused]] auto const noted = messages_.note();
    if (stage_ == Stage::values) join();
    messages_.take_in();
    messages_.see_off();
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

  bool everywhere() const { return what_ == Exchange::all_reduce; }

  /// Takes the values of all ranks in, and sums them.
  void join() {
    messages_.take_in();
    auto const all = blocks();
    auto const sum = out_.subspan(everywhere() ? all.first(line_.place) : 0, own());
    if constexpr (!keeps_record<C>) {
      auto const of = [&](std::int64_t rank) {
        return rank == line_.place ? in_.data() + all.first(rank)
                                   : static_cast<T const*>(from(rank).data());
      };
      detail::join<T>(Op::sum, line_.count, of, sum);
      if (!everywhere()) std::fill(out_.begin() + std::ssize(sum), out_.end(), T{});
    }
    stage_ = Stage::results;
    if (!everywhere()) return;
    messages_.each_peer([&](std::int64_t peer) {
      messages_.receive(peer, results_tag,
                        std::as_writable_bytes(out_.subspan(all.first(peer), all.length(peer))));
    });
    messages_.each_peer(
        [&](std::int64_t peer) { messages_.send(peer, results_tag, std::as_bytes(sum)); });
  }

  Line line_{};
  Exchange what_ = Exchange::reduce_scatter;
  Stage stage_ = Stage::over;
  std::span<T const> in_{};
  std::span<T> room_{}, out_{};
  detail::PostedMessages<C> messages_;
};

}  // namespace nxd
