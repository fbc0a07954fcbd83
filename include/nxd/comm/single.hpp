// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nxd/comm/communicator.hpp>
#include <nxd/core/error.hpp>

namespace nxd {

/// A rank with no peers: every exchange is with itself.
struct Single {
  static constexpr std::int64_t rank() { return 0; }
  static constexpr std::int64_t size() { return 1; }

  template <Transferable T>
  static constexpr void all_gather(Line, std::span<T const> in, std::span<T> out) {
    std::ranges::copy(in, out.begin());
  }
  template <Transferable T>
  static constexpr void all_to_all(Line, std::span<T const> in, std::span<T> out) {
    std::ranges::copy(in, out.begin());
  }
  template <Transferable T> static constexpr void broadcast(Line, std::int64_t, std::span<T>) {}
  template <Transferable T> static void send(std::int64_t, int, std::span<T const>) {
    throw Error(ExitCode::internal, "a job of one rank has nobody to send to");
  }
  template <Transferable T> static void receive(std::int64_t, int, std::span<T>) {
    throw Error(ExitCode::internal, "a job of one rank has nobody to receive from");
  }
  static constexpr void barrier() {}
};

static_assert(Communicator<Single>);

}  // namespace nxd
