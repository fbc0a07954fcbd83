// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <type_traits>
#include <vector>

#include <nxd/comm/communicator.hpp>
#include <nxd/core/dtype.hpp>
#include <nxd/core/expects.hpp>

namespace nxd {

/// How values of several ranks become one.
enum class Op : std::uint8_t { sum, max };

namespace detail {

/// Memory that exchanges pass through: one piece a thread and type, which grows and stays.
template <class T> std::span<T> exchange_space(std::size_t n) {
  thread_local std::vector<T> space;
  if (space.size() < n) space.resize(n);
  return std::span<T>(space).first(n);
}

/// The larger of the two, the first where they are equal. A NaN stays.
template <class T> T larger(T a, T b) {
  if constexpr (std::is_floating_point_v<T>)
    return a >= b || std::isnan(a) ? a : b;
  else
    return a >= b ? a : b;
}

/// out[i] = values of(0)[i], of(1)[i], ... joined in this order. A small piece at a time, so that
/// what has been joined stays near; `out` may be one of the values.
template <class T> void join(Op op, std::int64_t count, auto const& of, std::span<T> out) {
  constexpr std::size_t piece = 1024;
  accumulator_t<T> joined[piece];
  for (std::size_t first = 0; first < out.size(); first += piece) {
    auto const n = std::min(piece, out.size() - first);
    for (std::int64_t rank = 0; rank < count; ++rank) {
      T const* const from = of(rank) + first;
      if (rank == 0)
        for (std::size_t i = 0; i < n; ++i) joined[i] = widen(from[i]);
      else if (op == Op::sum)
        for (std::size_t i = 0; i < n; ++i) joined[i] += widen(from[i]);
      else
        for (std::size_t i = 0; i < n; ++i) joined[i] = larger(joined[i], widen(from[i]));
    }
    for (std::size_t i = 0; i < n; ++i) out[first + i] = narrow<T>(joined[i]);
  }
}

/// The same for values that lie one after the other.
template <class T>
void join_blocks(Op op, std::int64_t count, std::span<T const> blocks, std::span<T> out) {
  join<T>(
      op, count, [&](std::int64_t rank) { return blocks.data() + rank * std::ssize(out); }, out);
}

/// Up to here an all-reduce is one exchange of everything: latency counts, not bytes.
inline constexpr std::size_t small_message = std::size_t{16} << 10;

/// All-reduce by exchange: each rank joins one block of the values, and all gather the blocks.
template <class C, class T>
void all_reduce_by_blocks(C& comm, Line line, std::span<T> values, Op op) {
  auto const count = static_cast<std::size_t>(line.count);
  auto const n = values.size(), block = (n + count - 1) / count, whole = block * count;
  auto const even = whole == n;
  auto const space = exchange_space<T>(whole + block + (even ? 0 : whole));
  auto const blocks = space.first(whole), mine = space.subspan(whole, block);
  auto const padded = even ? values : space.last(whole);
  if (!even) std::fill(std::ranges::copy(values, padded.begin()).out, padded.end(), T{});
  comm.all_to_all(line, std::span<T const>(padded), blocks);
  join_blocks<T>(op, line.count, blocks, mine);
  comm.all_gather(line, std::span<T const>(mine), padded);
  if (!even) std::copy_n(padded.begin(), n, values.begin());
}

}  // namespace detail

/// out = this rank's block of the sum of all ranks' `in`, taken in rank order: the same bits
/// whatever carries the data. A communicator that has a `reduce_scatter` of its own promises that
/// order. Sends (count - 1) / count of `in`.
template <class C, Transferable T>
void reduce_scatter(C& comm, Line line, std::span<T const> in, std::span<T> out) {
  NXD_EXPECTS(std::ssize(in) == std::ssize(out) * line.count);
  if (line.count == 1) {
    std::ranges::copy(in, out.begin());
  } else if constexpr (requires { comm.reduce_scatter(line, in, out); }) {
    comm.reduce_scatter(line, in, out);
  } else {
    auto const blocks = detail::exchange_space<T>(in.size());
    comm.all_to_all(line, in, blocks);
    detail::join_blocks<T>(Op::sum, line.count, blocks, out);
  }
}

/// values = the sum of all ranks' values, or the largest of them, taken in rank order: the same
/// bits on every rank, and those that `reduce_scatter` gives. A communicator that has an
/// `all_reduce` of its own promises that order. Sends 2 (count - 1) / count of `values`.
template <class C, Transferable T>
void all_reduce(C& comm, Line line, std::span<T> values, Op op = Op::sum) {
  if (line.count == 1 || values.empty()) return;
  if constexpr (requires { comm.all_reduce(line, values, op); }) {
    comm.all_reduce(line, values, op);
  } else if (values.size_bytes() <= detail::small_message) {
    auto const all =
        detail::exchange_space<T>(values.size() * static_cast<std::size_t>(line.count));
    comm.all_gather(line, std::span<T const>(values), all);
    detail::join_blocks<T>(op, line.count, all, values);
  } else {
    detail::all_reduce_by_blocks(comm, line, values, op);
  }
}

}  // namespace nxd
