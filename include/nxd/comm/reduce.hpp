// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include <nxd/comm/communicator.hpp>

namespace nxd {

/// How values of several ranks become one.
enum class Op : std::uint8_t { sum, max };

namespace detail {

/// Memory that exchanges pass through: one piece a thread and type, which grows and stays.
template <class T>
std::span<T> exchange_space(std::size_t n) {
  thread_local std::vector<T> space;
  if (space.size() < n) space.resize(n);
  return std::span<T>(space).first(n);
}

/// out[i] = the values of all ranks at i, `count` blocks of them, joined in rank order. A NaN stays.
template <class T>
void join(std::span<T const> blocks, std::int64_t count, std::span<T> out, Op op) {
  auto const n = out.size();
  std::copy_n(blocks.begin(), n, out.begin());
  for (std::size_t rank = 1; rank < static_cast<std::size_t>(count); ++rank) {
    auto const* const from = blocks.data() + rank * n;
    auto* const to = out.data();
    if (op == Op::sum)
      for (std::size_t i = 0; i < n; ++i) to[i] += from[i];
    else
      for (std::size_t i = 0; i < n; ++i) to[i] = from[i] <= to[i] ? to[i] : from[i];
  }
}

/// Up to here an all-reduce is one exchange of everything: latency counts, not bytes.
inline constexpr std::size_t small_message = std::size_t{16} << 10;

}  // namespace detail

/// out = this rank's block of the sum of all ranks' `in`, taken in rank order: the same bits whatever
/// carries the data. Sends (count - 1) / count of `in`.
template <class C, Transferable T>
void reduce_scatter(C& comm, Line line, std::span<T const> in, std::span<T> out) {
  if (line.count == 1) {
    std::ranges::copy(in, out.begin());
  } else if constexpr (requires { comm.reduce_scatter(line, in, out); }) {
    comm.reduce_scatter(line, in, out);
  } else {
    auto const blocks = detail::exchange_space<T>(in.size());
    comm.all_to_all(line, in, blocks);
    detail::join<T>(blocks, line.count, out, Op::sum);
  }
}

/// values = the sum of all ranks' values, or the largest of them, taken in rank order: the same bits
/// on every rank, and those that `reduce_scatter` gives. Sends 2 (count - 1) / count of `values`.
template <class C, Transferable T>
void all_reduce(C& comm, Line line, std::span<T> values, Op op = Op::sum) {
  if (line.count == 1 || values.empty()) return;
  auto const count = static_cast<std::size_t>(line.count);
  auto const n = values.size();
  if constexpr (requires { comm.all_reduce(line, values, op); }) {
    comm.all_reduce(line, values, op);
  } else if (n * sizeof(T) <= detail::small_message) {
    auto const all = detail::exchange_space<T>(n * count);
    comm.all_gather(line, std::span<T const>(values), all);
    detail::join<T>(all, line.count, values, op);
  } else {
    auto const block = (n + count - 1) / count;
    auto const space = detail::exchange_space<T>(2 * block * count);
    auto const padded = space.first(block * count), blocks = space.subspan(block * count);
    std::ranges::copy(values, padded.begin());
    std::fill(padded.begin() + static_cast<std::ptrdiff_t>(n), padded.end(), T{});
    comm.all_to_all(line, std::span<T const>(padded), blocks);
    auto const mine = padded.first(block);
    detail::join<T>(blocks, line.count, mine, op);
    comm.all_gather(line, std::span<T const>(mine), blocks);
    std::copy_n(blocks.begin(), n, values.begin());
  }
}

}  // namespace nxd
