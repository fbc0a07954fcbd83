// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include <nxd/comm/post.hpp>
#include <nxd/comm/recorder.hpp>

namespace nxd::detail {

/// n values in blocks, one for each rank of a line; the last ones may be short, or empty.
struct RankBlocks {
  std::size_t n, size;

  constexpr RankBlocks(std::size_t all, std::int64_t ranks)
      : n(all),
        size((all + static_cast<std::size_t>(ranks) - 1) / static_cast<std::size_t>(ranks)) {}
  constexpr std::size_t first(std::int64_t rank) const {
    return std::min(n, size * static_cast<std::size_t>(rank));
  }
  constexpr std::size_t length(std::int64_t rank) const { return first(rank + 1) - first(rank); }
};

/// The messages of an exchange of a line that is under way.
template <Communicator C> class PostedMessages {
  using Carrier = std::remove_reference_t<decltype(carrier(std::declval<C&>()))>;
  using Sending = decltype(post_send(std::declval<Carrier&>(), 0, 0,
                                     std::declval<std::span<std::byte const>>()));
  using Receiving =
      decltype(post_receive(std::declval<Carrier&>(), 0, 0, std::declval<std::span<std::byte>>()));

 public:
  /// The exchange begins, and is told, if `comm` is a record, as if it were over.
  void begin(C& comm, [[maybe_unused]] Rendezvous const& r) {
    carrier_ = &carrier(comm);
    line_ = r.line;
    if constexpr (nxd::Recorded<C>) told_.emplace(comm.begin(r));
  }

  /// Every rank begins with the one after it: no rank is everybody's first.
  void each_peer(auto const& f) const {
    for (std::int64_t i = 1; i < line_.count; ++i) f((line_.place + i) % line_.count);
  }
  void send(std::int64_t peer, int tag, std::span<std::byte const> data) {
    if (!data.empty()) sending_.push_back(post_send(*carrier_, line_.rank(peer), tag, data));
  }
  void receive(std::int64_t peer, int tag, std::span<std::byte> data) {
    if (!data.empty()) receiving_.push_back(post_receive(*carrier_, line_.rank(peer), tag, data));
  }

  /// Whether everything has come, or the first n messages, without waiting.
  bool have_come() { return have_ended(std::span(receiving_)); }
  bool have_come(std::size_t n) { return have_ended(std::span(receiving_).first(n)); }
  bool have_left() { return have_ended(std::span(sending_)); }

  /// Returns when the first n messages have come.
  void take_in(std::size_t n) {
    for (auto& message : std::span(receiving_).first(n)) message.wait();
  }
  /// Returns when everything has come.
  void take_in() {
    take_in(receiving_.size());
    receiving_.clear();
  }
  /// Returns when nothing is read any more.
  void see_off() {
    for (auto& message : sending_) message.wait();
    sending_.clear();
  }

  /// While what is returned lives, this rank waits for the others.
  auto note() const {
    if constexpr (nxd::Recorded<C>)
      return told_->wait();
    else
      return 0;
  }

 private:
  /// A message that cannot be asked is taken in when it is waited for.
  template <class Message> static bool have_ended(std::span<Message> messages) {
    for (auto& message : messages) {
      if constexpr (requires { message.done(); }) {
        if (!message.done()) return false;
      } else {
        return false;
      }
    }
    return true;
  }

  Carrier* carrier_ = nullptr;
  Line line_{};
  std::vector<Receiving> receiving_;
  std::vector<Sending> sending_;
  std::optional<Begun> told_;
};

}  // namespace nxd::detail
