// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>

#include <nxd/comm/mpi_line.hpp>
#include <nxd/comm/mpi_relay.hpp>
#include <nxd/comm/window_exchanges.hpp>

/// Reductions along lines of several nodes with several ranks each. A rank joins one share of what
/// its node has, in the window, to the sums of the nodes before, and passes it on: an order of
/// rank after rank, as everywhere. The last node sends the results around. Between two nodes goes
/// one sum, not the values of all ranks, and all ranks of a node take part.
namespace nxd::detail {

/// Whether the busiest link between nodes carries fewer bytes where one sum goes from node to node,
/// `width` times as wide as the values, than where each rank sends its values to each other. The
/// results of an all-reduce go around, which between two nodes is the other direction.
constexpr bool chain_saves_bytes(std::size_t nodes, std::size_t ranks, std::size_t width,
                                 Exchange exchange) {
  bool const all = exchange == Exchange::all_reduce;
  auto const by_chain = nodes * width + (all && nodes > 2 ? nodes : 0);
  auto const by_all = ranks * (nodes - 1) + (all ? nodes : 0);
  return by_chain < by_all;
}

/// The same for a line; false where it lies on one node, or its pieces would be too small.
template <class T> bool worth_a_chain(MpiLine const& line, Exchange exchange) {
  if (line.across == MPI_COMM_NULL) return false;
  int count = 0;
  MPI_Comm_size(line.across, &count);
  auto const nodes = static_cast<std::size_t>(count);
  auto const ranks = static_cast<std::size_t>(line.window->count());
  return nodes * ranks <= line.window->room<T>() &&
         chain_saves_bytes(nodes, ranks, sizeof(accumulator_t<T>) / sizeof(T), exchange);
}

/// See `nxd::all_reduce`. Results of a piece are waited for when as many further pieces have gone
/// as there are nodes: both directions of the network are busy.
template <class T> void all_reduce_across(MpiLine& line, std::span<T> values, Op op) {
  auto& window = *line.window;
  window.begin("all_reduce", values.size_bytes(), static_cast<std::int64_t>(op));
  auto const pieces = reduced_pieces<T>(window, values.size());
  auto const piece = [&](std::size_t i) {
    return values.subspan(pieces.first(i), pieces.length(i));
  };
  auto const shares = [&](std::size_t i) {
    return Shares(pieces.length(i), window.count(), window_grain<T>);
  };
  auto const own = [&](std::size_t i) {
    return piece(i).subspan(shares(i).first(window.place()), shares(i).length(window.place()));
  };
  Relay<accumulator_t<T>> relay(line.across, pieces.count, shares(0).size);
  auto const lag = static_cast<std::size_t>(relay.nodes());
  Round<T> round(line.across, relay.node(), relay.last(), lag + 1);
  for (std::size_t turn = 0; turn < pieces.count + lag + 2; ++turn) {
    if (turn < pieces.count) put_shares<T>(window, piece(turn), shares(turn));
    if (auto const i = turn - 1; turn >= 1 && i < pieces.count) {
      auto const of = shown_shares<T>(window, piece(i).data(), shares(i));
      auto const* const before = relay.take();
      if (relay.node() == relay.last()) {
        join_on<T>(op, before, window.count(), of, own(i));
      } else {
        join_on<T>(op, before, window.count(), of, std::span(relay.room(), own(i).size()));
        relay.pass(own(i).size());
      }
      round.open(i, own(i));
    }
    if (auto const i = turn - 1 - lag; turn >= 1 + lag && i < pieces.count) {
      round.close(i, own(i));
      std::ranges::copy(own(i), window.mine<T>() + results_at(shares(i), window.count()));
    }
    if (auto const i = turn - 2 - lag; turn >= 2 + lag) take_shares<T>(window, piece(i), shares(i));
    if (turn < pieces.count + lag + 1) window.meet();
  }
  relay.finish();
  round.finish();
}

/// See `nxd::reduce_scatter`. A rank joins the blocks of all ranks at its place on their nodes.
template <class T> class ReduceScatterAcross {
 public:
  ReduceScatterAcross(MpiLine& line, std::span<T const> in, std::span<T> out)
      : window_(*line.window),
        in_(in),
        out_(out),
        nodes_(nodes_of(line.across)),
        pieces_(out.size(), window_.room<T>() / (ranks() * nodes_), 1),
        relay_(line.across, pieces_.count, pieces_.size * nodes_),
        delivery_(line.across, relay_.node(), relay_.last()) {}

  void operator()() {
    window_.begin("reduce_scatter", in_.size_bytes());
    for (std::size_t turn = 0; turn < pieces_.count + 1; ++turn) {
      if (turn < pieces_.count) put(turn);
      if (turn >= 1) join_piece(turn - 1);
      if (turn < pieces_.count) window_.meet();
    }
    relay_.finish();
    delivery_.finish();
  }

 private:
  static std::size_t nodes_of(MPI_Comm across) {
    int nodes = 0;
    MPI_Comm_size(across, &nodes);
    return static_cast<std::size_t>(nodes);
  }
  std::size_t ranks() const { return static_cast<std::size_t>(window_.count()); }
  std::size_t place() const { return static_cast<std::size_t>(window_.place()); }

  /// A piece of the block of the rank at a place on a node: here, and in a buffer.
  T const* block(std::size_t node, std::size_t at_place, std::size_t piece) const {
    return in_.data() + (node * ranks() + at_place) * out_.size() + pieces_.first(piece);
  }
  std::size_t in_buffer(std::size_t node, std::size_t at_place) const {
    return (at_place * nodes_ + node) * pieces_.size;
  }

  void put(std::size_t piece) {
    for (std::size_t peer = 0; peer < ranks(); ++peer)
      for (std::size_t node = 0; peer != place() && node < nodes_; ++node)
        std::copy_n(block(node, peer, piece), pieces_.length(piece),
                    window_.mine<T>() + in_buffer(node, peer));
  }

  template <class Out>
  void join_block(accumulator_t<T> const* before, std::size_t node, std::size_t piece, Out* to) {
    auto const n = pieces_.length(piece);
    auto const of = [&](std::int64_t peer) {
      return peer == window_.place() ? block(node, place(), piece)
                                     : window_.seen<T>(peer) + in_buffer(node, place());
    };
    join_on<T>(Op::sum, before == nullptr ? nullptr : before + node * n, window_.count(), of,
               std::span(to, n));
  }

  void join_piece(std::size_t piece) {
    auto const n = pieces_.length(piece);
    auto const result = out_.subspan(pieces_.first(piece), n);
    auto const* const before = relay_.take();
    if (relay_.node() != relay_.last()) {
      auto* const sums = relay_.room();
      for (std::size_t node = 0; node < nodes_; ++node)
        join_block(before, node, piece, sums + node * n);
      relay_.pass(n * nodes_);
      return delivery_.expect(piece, result);
    }
    for (std::size_t node = 0; node + 1 < nodes_; ++node) {
      auto const to = static_cast<int>(node);
      auto* const room = window_.mine<T>() + in_buffer(node, place());
      delivery_.make_room(piece, to);
      join_block(before, node, piece, room);
      delivery_.send(piece, to, std::span<T const>(room, n));
    }
    join_block(before, nodes_ - 1, piece, result.data());
  }

  Window& window_;
  std::span<T const> in_;
  std::span<T> out_;
  std::size_t nodes_;
  Pieces pieces_;
  Relay<accumulator_t<T>> relay_;
  Delivery<T> delivery_;
};

}  // namespace nxd::detail
