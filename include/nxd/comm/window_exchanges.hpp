// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <span>

#include <nxd/comm/reduce.hpp>
#include <nxd/comm/window.hpp>

/// Exchanges of ranks that share a window. Large ones need no copies where what they exchange lies
/// in memory that all can see. Elsewhere a piece at a time passes through the window, while the
/// next one is written and the one before is read. Results have the bits of `comm/reduce.hpp`.
namespace nxd::detail {

/// n things in equal pieces, of `most` at most and, but for the last, of whole units.
struct Pieces {
  std::size_t n, size, count;

  constexpr Pieces(std::size_t all, std::size_t most, std::size_t unit)
      : n(all), size(0), count(0) {
    if (n == 0) return;
    auto const at_least = (n + most - 1) / most;
    size = std::min(most, ((n + at_least - 1) / at_least + unit - 1) / unit * unit);
    count = (n + size - 1) / size;
  }
  constexpr std::size_t first(std::size_t piece) const { return piece * size; }
  constexpr std::size_t length(std::size_t piece) const { return std::min(size, n - first(piece)); }
};

/// Elements of a cache line: what two ranks write does not share one.
template <class T> inline constexpr std::size_t window_grain = 64 / sizeof(T);

/// A piece in shares, one for each rank; the last ones may be short, or empty.
struct Shares {
  std::size_t n, size;

  constexpr Shares(std::size_t all, std::int64_t ranks, std::size_t unit) : n(all), size(0) {
    auto const count = static_cast<std::size_t>(ranks);
    size = ((n + count - 1) / count + unit - 1) / unit * unit;
  }
  constexpr std::size_t first(std::int64_t rank) const {
    return std::min(n, size * static_cast<std::size_t>(rank));
  }
  constexpr std::size_t length(std::int64_t rank) const {
    return std::min(n, size * static_cast<std::size_t>(rank + 1)) - first(rank);
  }
};

/// The pieces of an all-reduce: the shares of a piece and one share of results fit a buffer.
template <class T> Pieces reduced_pieces(Window const& window, std::size_t n) {
  auto const ranks = static_cast<std::size_t>(window.count()), unit = window_grain<T>;
  auto const share = window.room<T>() / (ranks + 1) / unit * unit;
  return Pieces(n, share * ranks, unit * ranks);
}

/// A short all-reduce: one meeting, after which each rank joins everything.
template <class T> void join_all(Window& window, std::span<T> values, Op op) {
  std::ranges::copy(values, window.mine<T>());
  window.meet();
  join<T>(
      op, window.count(), [&](std::int64_t peer) { return window.seen<T>(peer); }, values);
}

/// Writes the shares of the others of a piece, for them to join.
template <class T> void put_shares(Window const& window, std::span<T const> piece, Shares shares) {
  for (std::int64_t peer = 0; peer < window.count(); ++peer)
    if (peer != window.place())
      std::copy_n(piece.data() + shares.first(peer), shares.length(peer),
                  window.mine<T>() + shares.first(peer));
}

/// Where rank `peer` shows this rank's share of the piece before, of which it has its own.
template <class T> auto shown_shares(Window const& window, T const* own, Shares shares) {
  return [&window, own, first = shares.first(window.place())](std::int64_t peer) {
    return (peer == window.place() ? own : window.seen<T>(peer)) + first;
  };
}

/// Where a piece's results lie in a buffer: behind the shares.
constexpr std::size_t results_at(Shares shares, std::int64_t ranks) {
  return shares.size * static_cast<std::size_t>(ranks);
}

/// Reads the results of the others of a piece.
template <class T> void take_shares(Window const& window, std::span<T> piece, Shares shares) {
  for (std::int64_t peer = 0; peer < window.count(); ++peer)
    if (peer != window.place())
      std::copy_n(window.seen<T>(peer) + results_at(shares, window.count()), shares.length(peer),
                  piece.data() + shares.first(peer));
}

/// An all-reduce where the values are: each rank joins the share that it alone touches, and writes
/// the results to all.
template <class T> void all_reduce_in_place(Window& window, std::size_t n, Op op) {
  Shares const shares(n, window.count(), window_grain<T>);
  auto const end = shares.first(window.place()) + shares.length(window.place());
  constexpr std::size_t piece = 2048;
  for (auto first = shares.first(window.place()); first < end; first += piece) {
    auto const length = std::min(piece, end - first);
    std::span<T> const joined(window.view<T>(window.place()) + first, length);
    join<T>(
        op, window.count(), [&](std::int64_t peer) { return window.view<T>(peer) + first; },
        joined);
    for (std::int64_t peer = 0; peer < window.count(); ++peer)
      if (peer != window.place()) std::ranges::copy(joined, window.view<T>(peer) + first);
  }
  window.meet();
}

/// See `nxd::all_reduce`.
template <class T> void all_reduce(Window& window, std::span<T> values, Op op) {
  if (values.empty()) return;
  window.begin("all_reduce", values.size_bytes(), static_cast<std::int64_t>(op));
  if (values.size_bytes() <= std::min(small_message, window.room<std::byte>()))
    return join_all(window, values, op);
  if (window.look_into(values)) return all_reduce_in_place<T>(window, values.size(), op);
  auto const pieces = reduced_pieces<T>(window, values.size());
  auto const piece = [&](std::size_t i) {
    return values.subspan(pieces.first(i), pieces.length(i));
  };
  auto const shares = [&](std::size_t i) {
    return Shares(pieces.length(i), window.count(), window_grain<T>);
  };
  for (std::size_t turn = 0; turn < pieces.count + 2; ++turn) {
    if (turn < pieces.count) put_shares<T>(window, piece(turn), shares(turn));
    if (turn >= 1 && turn <= pieces.count) {
      auto const cut = shares(turn - 1);
      auto const own = piece(turn - 1);
      auto const sum = own.subspan(cut.first(window.place()), cut.length(window.place()));
      join<T>(op, window.count(), shown_shares<T>(window, own.data(), cut), sum);
      std::ranges::copy(sum, window.mine<T>() + results_at(cut, window.count()));
    }
    if (turn >= 2) take_shares<T>(window, piece(turn - 2), shares(turn - 2));
    if (turn < pieces.count + 1) window.meet();
  }
}

/// See `nxd::reduce_scatter`.
template <class T> void reduce_scatter(Window& window, std::span<T const> in, std::span<T> out) {
  if (in.empty()) return;
  window.begin("reduce_scatter", in.size_bytes());
  if (in.size_bytes() > small_message && window.look_into(in)) {
    auto const mine = static_cast<std::size_t>(window.place()) * out.size();
    join<T>(
        Op::sum, window.count(),
        [&](std::int64_t peer) { return window.view<T const>(peer) + mine; }, out);
    return window.meet();
  }
  auto const ranks = static_cast<std::size_t>(window.count());
  auto const most = window.room<T>() / ranks / window_grain<T> * window_grain<T>;
  Pieces const pieces(out.size(), most, window_grain<T>);
  auto const block = [&](std::int64_t of, std::size_t piece) {
    return in.data() + static_cast<std::size_t>(of) * out.size() + pieces.first(piece);
  };
  for (std::size_t turn = 0; turn < pieces.count + 1; ++turn) {
    for (std::int64_t peer = 0; turn < pieces.count && peer < window.count(); ++peer)
      if (peer != window.place())
        std::copy_n(block(peer, turn), pieces.length(turn),
                    window.mine<T>() + static_cast<std::size_t>(peer) * pieces.size);
    if (turn >= 1) {
      auto const mine = static_cast<std::size_t>(window.place()) * pieces.size;
      auto const of = [&](std::int64_t peer) {
        return peer == window.place() ? block(peer, turn - 1) : window.seen<T>(peer) + mine;
      };
      join<T>(Op::sum, window.count(), of,
              out.subspan(pieces.first(turn - 1), pieces.length(turn - 1)));
    }
    if (turn < pieces.count) window.meet();
  }
}

/// Up to here MPI's own all-gather and broadcast on a node take longer than through a window, and
/// beyond, where they copy from process to process, no longer.
inline constexpr std::size_t short_copy = std::size_t{32} << 10;

/// out = the `in` of all ranks, one after the other; `in` may lie in it, at its place. False if
/// there is a faster way than a window.
template <class T> bool all_gather(Window& window, std::span<T const> in, std::span<T> out) {
  if (in.empty()) return true;
  window.begin("all_gather", in.size_bytes());
  auto const of = [&](std::int64_t peer) {
    return out.subspan(static_cast<std::size_t>(peer) * in.size(), in.size()).begin();
  };
  bool const is_short = in.size_bytes() <= std::min(short_copy, window.room<std::byte>());
  if (is_short) {
    std::ranges::copy(in, window.mine<T>());
    window.meet();
  } else if (!window.look_into(in)) {
    return false;
  }
  for (std::int64_t peer = 0; peer < window.count(); ++peer)
    if (peer == window.place()) {
      if (in.data() != std::to_address(of(peer))) std::ranges::copy(in, of(peer));
    } else
      std::copy_n(is_short ? window.seen<T>(peer) : window.view<T const>(peer), in.size(),
                  of(peer));
  if (!is_short) window.meet();
  return true;
}

/// Shows all ranks memory in which each is yet to make its block, for what it makes to be written
/// to the others at once. False if that is not faster, or not all can see it.
template <class T> bool open_block(Window& window, std::span<T> all) {
  auto const block = all.size_bytes() / static_cast<std::size_t>(window.count());
  if (block <= short_copy) return false;
  window.begin("all_gather", block);
  return window.look_into(all);
}

/// data = that of the rank at place `root`. False if there is a faster way than a window.
template <class T> bool broadcast(Window& window, std::int64_t root, std::span<T> data) {
  if (data.empty()) return true;
  if (data.size_bytes() > std::min(short_copy, window.room<std::byte>())) return false;
  window.begin("broadcast", data.size_bytes(), root);
  if (window.place() == root) std::ranges::copy(data, window.mine<T>());
  window.meet();
  if (window.place() != root) std::copy_n(window.seen<T>(root), data.size(), data.begin());
  return true;
}

}  // namespace nxd::detail
