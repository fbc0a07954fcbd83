// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <span>

#include <nxd/comm/posted_messages.hpp>
#include <nxd/comm/row_pieces.hpp>

namespace nxd {

namespace detail {

/// How ranks share the sum of n values that are made in pieces: a piece is joined by the rank whose
/// it is, or by all, a part each.
struct SumShares {
  std::size_t n = 0;
  Line line{};
  RowPieces pieces{};

  /// Some of the values.
  struct Part {
    std::size_t first, count;
  };

  /// What a rank joins of piece i.
  Part of(std::int64_t i, std::int64_t rank) const {
    auto const row = n / static_cast<std::size_t>(pieces.rows());
    auto const rows = pieces[i];
    auto const first = static_cast<std::size_t>(rows.first) * row;
    auto const count = static_cast<std::size_t>(rows.count) * row;
    if (pieces.ranks != 0) return {first, pieces.owner(i) == rank ? count : 0};
    RankBlocks const blocks(count, line.count);
    return {first + blocks.first(rank), blocks.length(rank)};
  }

  /// All that this rank joins.
  std::size_t own() const {
    std::size_t sum = 0;
    pieces.each_of(line.place, [&](std::int64_t i) { sum += of(i, line.place).count; });
    return sum;
  }
};

}  // namespace detail

/// A sum over the ranks of a line that is under way while they do something else: each rank sends
/// every other one the part of its values that the other is to join, piece by piece if that is how
/// it makes them. Sums are taken in rank order, and have the bits of `reduce_scatter` and
/// `all_reduce`; so has what a record tells of them, at the moment of `begin`. All ranks of a line
/// begin and wait in one order.
///
/// An object can be used again, and then asks for no memory. Messages: those of the exchange, for
/// each piece.
template <Communicator C, Transferable T> class PostedReduction {
 public:
  /// Elements of the room that a sum of n values needs: what the others send.
  static std::int64_t room(std::int64_t n, Line line, RowPieces const& pieces = {}) {
    auto const own = detail::SumShares{static_cast<std::size_t>(n), line, pieces}.own();
    return static_cast<std::int64_t>(own) * (line.count - 1);
  }

  /// Begins, with values that are there. All memory must stay until `wait` has returned.
  /// @param what reduce_scatter, to `out` of one block, padded with zeros; or all_reduce, to `out`
  ///             of all values
  void post(C& comm, Line line, Exchange what, std::span<T const> in, std::span<T> room,
            std::span<T> out) {
    begin(comm, line, what, {}, in, room, out);
    made(0);
  }

  /// Begins, with rows that are yet to be made.
  /// @param pieces of which each rank makes those of a rank in memory's order
  /// @param what reduce_scatter, if blocks are the ranks' in turn; all_reduce, if they are all
  ///             ranks'
  void begin(C& comm, Line line, Exchange what, RowPieces const& pieces, std::span<T const> in,
             std::span<T> room, std::span<T> out) {
    detail::RankBlocks const blocks(in.size(), line.count);
    NXD_EXPECTS(is_over_);
    NXD_EXPECTS(out.size() == (what == Exchange::all_reduce ? in.size() : blocks.size));
    what_ = what, shares_ = {in.size(), line, pieces}, in_ = in, room_ = room, out_ = out;
    auto const n = everywhere() ? in.size() : blocks.size * static_cast<std::size_t>(line.count);
    messages_.begin(comm,
                    {what, element_code<T>(), line, static_cast<std::int64_t>(n * sizeof(T))});
    is_over_ = false;
    made_ = 0;
    for (next_ = {}; next_.piece < pieces.count(); next_ = after_next())
      messages_.each_peer([&](std::int64_t peer) {
        messages_.receive(peer, values_tag, std::as_writable_bytes(from(peer)));
      });
    next_ = {};
  }

  /// Piece i has been made, and leaves.
  void made(std::int64_t i) {
    auto const& pieces = shares_.pieces;
    if (auto const place = shares_.line.place; pieces.belongs_to(i, place)) {
      made_ = i + 1;
      while (made_ < pieces.count() && !pieces.belongs_to(made_, place)) ++made_;
    }
    messages_.each_peer([&](std::int64_t peer) {
      auto const [first, count] = shares_.of(i, peer);
      messages_.send(peer, values_tag, std::as_bytes(in_.subspan(first, count)));
    });
  }

  /// Goes on as far as it can without waiting. @return whether sums that were posted later may go
  /// on too: messages of second stages leave in the order of the sums
  bool advance() {
    if (is_over_) return true;
    while (next_.piece < made_ && messages_.have_come(after_next().messages)) join();
    return next_.piece == shares_.pieces.count() && (messages_.have_come(), true);
  }

  /// Returns when the sum is there, and nothing is read any more.
  void wait() {
    if (is_over_) return;
    [[maybe_unused]] auto const noted = messages_.note();
    while (next_.piece < made_) join();
    if constexpr (!keeps_record<C>)
      if (!everywhere())
        std::fill(out_.begin() + static_cast<std::ptrdiff_t>(next_.values), out_.end(), T{});
    messages_.take_in();
    messages_.see_off();
    is_over_ = true;
  }

 private:
  // Messages of a pipeline are between other pairs of ranks; between two ranks they keep their
  // order, stage by stage.
  static constexpr int values_tag = 0x4e01, results_tag = 0x4e02;

  /// What this rank joins next, in memory's order.
  struct Next {
    std::int64_t piece = 0;
    std::size_t values = 0;    ///< that it joins before
    std::size_t messages = 0;  ///< that bring others' values before
  };

  bool everywhere() const { return what_ == Exchange::all_reduce; }
  std::size_t peers() const { return static_cast<std::size_t>(shares_.line.count - 1); }
  auto own() const { return shares_.of(next_.piece, shares_.line.place); }
  Next after_next() const {
    auto const count = own().count;
    return {next_.piece + 1, next_.values + count, next_.messages + (count == 0 ? 0 : peers())};
  }

  /// Where the values of a peer come to.
  std::span<T> from(std::int64_t peer) const {
    auto const slot = static_cast<std::size_t>(peer < shares_.line.place ? peer : peer - 1);
    auto const count = own().count;
    return room_.subspan(next_.values * peers() + slot * count, count);
  }

  /// Takes the values of all ranks in, and sums them.
  void join() {
    auto const line = shares_.line;
    auto const piece = next_.piece;
    auto const mine = own();
    auto const after = after_next();
    messages_.take_in(after.messages);
    auto const sum = out_.subspan(everywhere() ? mine.first : next_.values, mine.count);
    if constexpr (!keeps_record<C>) {
      auto const of = [&](std::int64_t rank) {
        return rank == line.place ? in_.data() + mine.first
                                  : static_cast<T const*>(from(rank).data());
      };
      detail::join<T>(Op::sum, line.count, of, sum);
    }
    next_ = after;
    if (!everywhere()) return;
    messages_.each_peer([&](std::int64_t peer) {
      auto const [first, count] = shares_.of(piece, peer);
      messages_.receive(peer, results_tag, std::as_writable_bytes(out_.subspan(first, count)));
    });
    messages_.each_peer(
        [&](std::int64_t peer) { messages_.send(peer, results_tag, std::as_bytes(sum)); });
  }

  Exchange what_ = Exchange::reduce_scatter;
  detail::SumShares shares_;
  bool is_over_ = true;
  std::int64_t made_ = 0;  ///< pieces in memory's order whose own part is there, or is none
  Next next_;
  std::span<T const> in_{};
  std::span<T> room_{}, out_{};
  detail::PostedMessages<C> messages_;
};

}  // namespace nxd
