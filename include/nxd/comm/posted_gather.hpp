// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include <nxd/comm/posted_messages.hpp>
#include <nxd/comm/row_pieces.hpp>

namespace nxd {

/// A gather over the ranks of a line that is under way while they do something else. Each rank has
/// one block of the values in its place among them, and sends it to every other one; theirs come to
/// their places. What a record tells of it, at the moment of `post`, is an all-gather of blocks of
/// one size. All ranks of a line post in one order.
///
/// An object can be used again, and then asks for no memory. Messages: those of the exchange.
template <Communicator C> class PostedGather {
 public:
  /// Begins. All values must stay until `wait` has returned, those of other ranks unread.
  template <Transferable T> void post(C& comm, Line line, std::span<T> values) {
    post(comm, line, std::as_writable_bytes(values), sizeof(T), element_code<T>());
  }
  /// Likewise, of elements of so many bytes. @param code see `element_code`
  void post(C& comm, Line line, std::span<std::byte> values, std::size_t size, std::uint8_t code) {
    NXD_EXPECTS(!under_way_);
    detail::RankBlocks const blocks(values.size() / size, line.count);
    messages_.begin(
        comm, {Exchange::all_gather, code, line, static_cast<std::int64_t>(blocks.size * size)});
    under_way_ = true;
    auto const block = [&](std::int64_t rank) {
      return values.subspan(blocks.first(rank) * size, blocks.length(rank) * size);
    };
    messages_.each_peer([&](std::int64_t peer) { messages_.receive(peer, tag, block(peer)); });
    messages_.each_peer([&](std::int64_t peer) { messages_.send(peer, tag, block(line.place)); });
  }

  /// Begins, of rows whose blocks are the ranks' in turn: they come piece by piece.
  template <Transferable T>
  void post(C& comm, Line line, RowPieces const& rows, std::span<T> values) {
    NXD_EXPECTS(!under_way_ && rows.ranks == line.count);
    auto const all = std::as_writable_bytes(values);
    auto const row = all.size() / static_cast<std::size_t>(rows.rows());
    messages_.begin(comm, {Exchange::all_gather, element_code<T>(), line,
                           static_cast<std::int64_t>(all.size()) / line.count});
    under_way_ = true;
    auto const piece = [&](std::int64_t i) {
      return all.subspan(static_cast<std::size_t>(rows[i].first) * row,
                         static_cast<std::size_t>(rows[i].count) * row);
    };
    rows.each_from_others(line.place, [&](std::int64_t i) {
      if (rows.owner(i) != line.place) messages_.receive(rows.owner(i), tag, piece(i));
    });
    messages_.each_peer([&](std::int64_t peer) {
      rows.each_of(line.place, [&](std::int64_t i) { messages_.send(peer, tag, piece(i)); });
    });
  }
  /// Returns when the first n pieces of others have come, in the order of `each_from_others`.
  void wait_for(std::int64_t n) {
    if (messages_.have_come(static_cast<std::size_t>(n))) return;
    [[maybe_unused]] auto const noted = messages_.note();
    messages_.take_in(static_cast<std::size_t>(n));
  }

  /// Goes on as far as it can without waiting. @return whether it is over
  bool advance() { return !under_way_ || (messages_.have_come() && messages_.have_left()); }

  /// Returns when all values are there, and none is read any more.
  void wait() {
    if (!under_way_) return;
    [[maybe_unused]] auto const noted = messages_.note();
    messages_.take_in();
    messages_.see_off();
    under_way_ = false;
  }

 private:
  // Sums between the same ranks have tags of their own: see `PostedReduction`.
  static constexpr int tag = 0x4e03;

  detail::PostedMessages<C> messages_;
  bool under_way_ = false;
};

}  // namespace nxd
