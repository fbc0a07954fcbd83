// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <optional>
#include <span>

#include <nxd/comm/recorder.hpp>

namespace nxd {

/// all = the blocks of all ranks of the line, one after the other; this rank's lies in it already.
/// A communicator that cannot do that broadcasts each block. Memory: none.
template <Communicator C, Transferable T>
void all_gather_in_place(C& comm, Line line, std::span<T> all) {
  NXD_EXPECTS(std::ssize(all) % line.count == 0);
  if constexpr (requires { comm.all_gather_in_place(line, all); }) {
    comm.all_gather_in_place(line, all);
  } else {
    auto const block = all.size() / static_cast<std::size_t>(line.count);
    for (std::int64_t place = 0; place < line.count; ++place)
      comm.broadcast(line, place, all.subspan(static_cast<std::size_t>(place) * block, block));
  }
}

namespace detail {

/// What writes this rank's block to the others; a null pointer if nothing does.
template <class C, class T>
auto open_block([[maybe_unused]] C& carrier, [[maybe_unused]] Line line,
                [[maybe_unused]] std::span<T> all) {
  if constexpr (requires { carrier.open_block(line, all); })
    return carrier.open_block(line, all);
  else
    return nullptr;
}

}  // namespace detail

/// An all-gather in place of blocks that their ranks are yet to make. Where each rank can see all
/// of the memory, what is made is written to the others while it is still in a cache, and memory is
/// passed over once; elsewhere the blocks travel at the end. All ranks of the line begin and finish
/// in one order. A record takes it for an `all_gather`.
template <Communicator C, Transferable T> class MadeInPlace {
 public:
  /// Returns when the others have begun too, if they share memory: from then on they may write into
  /// `all`, but for this rank's block.
  MadeInPlace(C& comm, Line line, std::span<T> all) : comm_(comm), line_(line), all_(all) {
    NXD_EXPECTS(std::ssize(all) % line.count == 0);
    if constexpr (Recorded<C>)
      begun_.emplace(
          comm.begin(Rendezvous{Exchange::all_gather, element_code<T>(), line,
                                static_cast<std::int64_t>(all.size_bytes()) / line.count}));
    if constexpr (sees_peers) {
      [[maybe_unused]] auto const noted = note();
      peers_ = detail::open_block(detail::carrier(comm_), line, all);
    }
  }

  /// Elements [first, first + count) of this rank's block are made. Any thread may say so.
  void made(std::int64_t first, std::int64_t count) const {
    if constexpr (sees_peers)
      if (peers_ != nullptr) peers_->template write_to_peers<T>(block() + first, count);
  }

  /// Returns when all blocks are there.
  void finish() {
    [[maybe_unused]] auto const noted = note();
    if constexpr (sees_peers)
      if (peers_ != nullptr) return peers_->meet();
    if constexpr (!keeps_record<C>) all_gather_in_place(detail::carrier(comm_), line_, all_);
  }

 private:
  using Carrier = std::remove_reference_t<decltype(detail::carrier(std::declval<C&>()))>;
  using Peers = decltype(detail::open_block(std::declval<Carrier&>(), Line{}, std::span<T>()));
  static constexpr bool sees_peers = !std::same_as<Peers, std::nullptr_t>;

  /// Where this rank's block begins.
  std::int64_t block() const { return std::ssize(all_) / line_.count * line_.place; }

  auto note() const {
    if constexpr (Recorded<C>)
      return begun_->wait("exchange");
    else
      return 0;
  }

  C& comm_;
  Line line_;
  std::span<T> all_;
  Peers peers_ = nullptr;
  std::optional<Begun> begun_;
};

}  // namespace nxd
