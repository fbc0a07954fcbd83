// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include <nxd/comm/communicator.hpp>
#include <nxd/core/dtype.hpp>
#include <nxd/core/random.hpp>
#include <nxd/core/spelling.hpp>
#include <nxd/dist/mesh.hpp>

namespace nxd {

/// Of one rank with one other, not of a whole line.
constexpr bool is_message(Exchange e) { return e == Exchange::send || e == Exchange::receive; }

/// A number for what elements are, the same on all ranks of one program.
template <class T> constexpr std::uint8_t element_code() {
  if constexpr (requires { dtype_of<T>::value; })
    return static_cast<std::uint8_t>(dtype_v<T>);
  else
    return static_cast<std::uint8_t>(0x40 + (sizeof(T) & 0x3f));
}

/// In words.
inline std::string element_name(std::uint8_t code) {
  return code < 0x40 ? std::string(name(static_cast<DType>(code)))
                     : std::to_string(code & 0x3f) + "-byte elements";
}

/// An exchange as every rank that takes part in it must see it.
struct Rendezvous {
  Exchange exchange;
  std::uint8_t element;     ///< `element_code`
  Line line;                ///< of a message: both ranks, the lower one first
  std::int64_t bytes;       ///< that are handed in, or of the message
  std::int64_t detail = 0;  ///< root, tag, or operation
};

namespace detail {

constexpr std::uint64_t mixed(std::uint64_t a, std::uint64_t b) {
  auto z = (a ^ b) * 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

}  // namespace detail

/// A number for the line, and for what happens on it, without the place of who looks. A message has
/// the same for both of its ranks.
constexpr std::uint64_t fingerprint(Line line) {
  return detail::mixed(detail::mixed(static_cast<std::uint64_t>(line.first),
                                     static_cast<std::uint64_t>(line.stride)),
                       static_cast<std::uint64_t>(line.count));
}
constexpr std::uint64_t fingerprint(Rendezvous const& r) {
  auto const message = is_message(r.exchange);
  auto const from = message ? (r.line.place ^ (r.exchange == Exchange::receive ? 1 : 0)) : 0;
  auto const what = static_cast<std::uint64_t>(message ? Exchange::send : r.exchange) << 16 |
                    static_cast<std::uint64_t>(from) << 8 | r.element;
  auto const size = detail::mixed(what, static_cast<std::uint64_t>(r.bytes));
  return detail::mixed(detail::mixed(size, static_cast<std::uint64_t>(r.detail)),
                       fingerprint(r.line));
}

/// "ranks 0, 1" or "ranks 0, 2, ... 62".
inline std::string ranks_text(Line line) {
  auto text = "ranks " + std::to_string(line.first);
  for (std::int64_t i = 1; i < line.count; ++i) {
    if (line.count > 4 && i == 2) {
      text += ", ...";
      i = line.count - 2;
      continue;
    }
    text += ", " + std::to_string(line.rank(i));
  }
  return text;
}

/// "all_reduce of 4096 bytes of F32 over ranks 0, 2".
inline std::string text(Rendezvous const& r) {
  auto const what = spelling(r.exchange) + " of " + std::to_string(r.bytes) + " bytes";
  auto const peer = std::to_string(r.line.rank(1 - r.line.place));
  if (r.exchange == Exchange::barrier) return "barrier over " + ranks_text(r.line);
  if (r.exchange == Exchange::send) return what + " to rank " + peer;
  if (r.exchange == Exchange::receive) return what + " from rank " + peer;
  auto const how = r.exchange == Exchange::broadcast
                       ? " from rank " + std::to_string(r.line.rank(r.detail))
                   : r.exchange == Exchange::all_reduce && r.detail != 0 ? " for their maximum"
                                                                         : "";
  return what + " of " + element_name(r.element) + how + " over " + ranks_text(r.line);
}

}  // namespace nxd
