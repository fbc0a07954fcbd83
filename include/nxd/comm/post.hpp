// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include <nxd/comm/communicator.hpp>

namespace nxd {

/// A communicator whose messages need not be waited for. Each returns a handle with `wait()`; the
/// memory must stay as it is until then.
///
///   post_send(rank, tag, data), post_receive(rank, tag, data)
template <class C>
concept PostingCommunicator = Communicator<C> &&
    requires(C& comm, std::span<float const> in, std::span<float> out, std::int64_t rank, int tag) {
  comm.post_send(rank, tag, in).wait();
  comm.post_receive(rank, tag, out).wait();
};

namespace detail {

/// A message that a communicator with `send` and `receive` alone is yet to take in.
template <class C, class T> class LateReceive {
 public:
  LateReceive() = default;
  LateReceive(C& comm, std::int64_t from, int tag, std::span<T> to)
      : comm_(&comm), from_(from), tag_(tag), to_(to) {}

  void wait() {
    if (auto* const comm = std::exchange(comm_, nullptr)) comm->receive(from_, tag_, to_);
  }

 private:
  C* comm_ = nullptr;
  std::int64_t from_ = 0;
  int tag_ = 0;
  std::span<T> to_{};
};

struct Sent {
  void wait() {}
};

}  // namespace detail

/// Whether no two ranks of a line share a node, so that their messages travel by a network while
/// their cores do something else. All ranks of the line ask. A communicator that does not say so is
/// on one node.
template <Communicator C> bool between_nodes([[maybe_unused]] C& comm, [[maybe_unused]] Line line) {
  if constexpr (requires { comm.between_nodes(line); })
    return line.count > 1 && comm.between_nodes(line);
  else
    return false;
}

/// Starts to send, and to receive. A communicator that cannot post must keep what it sends until it
/// is received, as `Threads` does: then a send is over at once, and a receive is done when it is
/// waited for.
template <Communicator C, class T>
auto post_send(C& comm, std::int64_t to, int tag, std::span<T const> data) {
  if constexpr (PostingCommunicator<C>)
    return comm.post_send(to, tag, data);
  else
    return comm.send(to, tag, data), detail::Sent{};
}
template <Communicator C, class T>
auto post_receive(C& comm, std::int64_t from, int tag, std::span<T> data) {
  if constexpr (PostingCommunicator<C>)
    return comm.post_receive(from, tag, data);
  else
    return detail::LateReceive<C, T>(comm, from, tag, data);
}

}  // namespace nxd
