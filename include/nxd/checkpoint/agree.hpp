// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include <nxd/comm/communicator.hpp>
#include <nxd/core/error.hpp>

namespace nxd {

namespace detail {

template <class C> Line all_ranks(C& comm) {
  return {0, 1, static_cast<std::int64_t>(comm.size()), static_cast<std::int64_t>(comm.rank())};
}

/// Throws what rank `rank` has thrown, as it was encoded by `failure_of`.
[[noreturn]] inline void raise(std::string const& failure, std::int64_t rank, std::int64_t ranks) {
  auto const code = static_cast<ExitCode>(std::stoi(failure));
  auto sentence = failure.substr(failure.find(' ') + 1);
  if (ranks > 1) sentence = "rank " + std::to_string(rank) + ": " + sentence;
  switch (code) {
    case ExitCode::config: throw ConfigError(sentence);
    case ExitCode::corrupt: throw CorruptInput(sentence);
    case ExitCode::io: throw IoError(sentence);
    default: throw Error(code, sentence);
  }
}

/// "code sentence" of what `work` throws, or nothing.
template <class Work> std::string failure_of(Work&& work) {
  auto const encoded = [](ExitCode code, char const* sentence) {
    return std::to_string(static_cast<int>(code)) + " " + sentence;
  };
  try {
    work();
  } catch (Error const& e) {
    return encoded(e.code, e.what());
  } catch (std::exception const& e) {
    return encoded(ExitCode::internal, e.what());
  }
  return {};
}

/// Throws what the first rank that has a failure has thrown, if any has.
inline void raise_first(std::vector<std::string> const& failures) {
  for (std::size_t r = 0; r < failures.size(); ++r)
    if (!failures[r].empty())
      raise(failures[r], static_cast<std::int64_t>(r), static_cast<std::int64_t>(failures.size()));
}

}  // namespace detail

/// The text of each rank, on all ranks. Cost: two all-gathers, the second padded to the longest
/// text; only the first if all are empty.
template <class C> std::vector<std::string> gather_texts(C& comm, std::string const& mine) {
  auto const line = detail::all_ranks(comm);
  auto const ranks = static_cast<std::size_t>(line.count);
  std::vector<std::int64_t> const my_length{static_cast<std::int64_t>(mine.size())};
  std::vector<std::int64_t> lengths(ranks);
  comm.all_gather(line, std::span<std::int64_t const>(my_length), std::span<std::int64_t>(lengths));
  auto const longest = static_cast<std::size_t>(std::ranges::max(lengths));
  std::vector<std::string> texts(ranks);
  if (longest == 0) return texts;
  std::vector<std::byte> in(longest), out(longest * ranks);
  std::ranges::copy(std::as_bytes(std::span(mine)), in.begin());
  comm.all_gather(line, std::span<std::byte const>(in), std::span<std::byte>(out));
  for (std::size_t r = 0; r < ranks; ++r)
    texts[r].assign(reinterpret_cast<char const*>(out.data() + r * longest),
                    static_cast<std::size_t>(lengths[r]));
  return texts;
}

/// The text of rank 0, on all ranks.
template <class C> std::string broadcast_text(C& comm, std::string text) {
  auto const line = detail::all_ranks(comm);
  std::vector<std::int64_t> length{static_cast<std::int64_t>(text.size())};
  comm.broadcast(line, 0, std::span<std::int64_t>(length));
  text.resize(static_cast<std::size_t>(length[0]));
  if (!text.empty()) comm.broadcast(line, 0, std::as_writable_bytes(std::span(text)));
  return text;
}

/// Runs `work()` on each rank, and ends alike on all: if it threw on any, all throw what the first
/// of them threw, and say which rank that was. `work` may not communicate.
template <class C, class Work> void together(C& comm, Work&& work) {
  detail::raise_first(gather_texts(comm, detail::failure_of(work)));
}

/// The text that `work()` returns on rank 0, on all ranks; what it throws there, all throw.
template <class C, class Work> std::string from_first_rank(C& comm, Work&& work) {
  std::string text;
  together(comm, [&] {
    if (comm.rank() == 0) text = work();
  });
  return broadcast_text(comm, std::move(text));
}

}  // namespace nxd
