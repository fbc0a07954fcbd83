// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>

#include <nxd/comm/mpi_types.hpp>
#include <nxd/comm/reduce.hpp>

/// What travels between ranks at one place on their nodes, while they work on what follows.
namespace nxd::detail {

/// Sums on their way from node to node: so many messages, of at most `most` elements each.
template <class W> class Relay {
 public:
  Relay(MPI_Comm across, std::size_t messages, std::size_t most)
      : across_(across), messages_(messages), most_(most), space_(exchange_space<W>(4 * most)) {
    MPI_Comm_rank(across, &node_);
    MPI_Comm_size(across, &nodes_);
    in_.fill(MPI_REQUEST_NULL);
    out_.fill(MPI_REQUEST_NULL);
    post();
  }

  int node() const { return node_; }
  int nodes() const { return nodes_; }
  int last() const { return nodes_ - 1; }

  /// The next sums of the nodes before; nullptr where there are none.
  W const* take() {
    if (node_ == 0) return nullptr;
    auto const slot = taken_++ % 2;
    check_mpi(MPI_Wait(&in_[slot], MPI_STATUS_IGNORE), "MPI_Wait");
    post();
    return buffer(slot);
  }

  /// Where the next sums may be written; they stay until they have gone.
  W* room() {
    check_mpi(MPI_Wait(&out_[passed_ % 2], MPI_STATUS_IGNORE), "MPI_Wait");
    return buffer(2 + passed_ % 2);
  }

  /// Sends the first n of what was written to `room()` to the next node.
  void pass(std::size_t n) {
    auto const slot = passed_++ % 2;
    check_mpi(MPI_Isend(buffer(2 + slot), static_cast<int>(n), mpi_datatype<W>(), node_ + 1, 0,
                        across_, &out_[slot]),
              "MPI_Isend");
  }

  /// Returns when all has gone.
  void finish() { check_mpi(MPI_Waitall(2, out_.data(), MPI_STATUSES_IGNORE), "MPI_Waitall"); }

 private:
  W* buffer(std::size_t slot) const { return space_.data() + slot * most_; }
  void post() {
    if (node_ == 0 || taken_ == messages_) return;
    auto const slot = taken_ % 2;
    check_mpi(MPI_Irecv(buffer(slot), static_cast<int>(most_), mpi_datatype<W>(), node_ - 1, 0,
                        across_, &in_[slot]),
              "MPI_Irecv");
  }

  MPI_Comm across_;
  std::size_t messages_, most_, taken_ = 0, passed_ = 0;
  std::span<W> space_;
  int node_ = 0, nodes_ = 0;
  std::array<MPI_Request, 2> in_, out_;
};

/// Results on their way from the last node around to all others, straight from memory to memory.
/// Of so many messages as `under_way` some may be open.
template <class T> class Round {
 public:
  Round(MPI_Comm across, int node, int last, std::size_t under_way)
      : across_(across),
        node_(node),
        last_(last),
        open_(exchange_space<MPI_Request>(2 * under_way)),
        in_(open_.first(under_way)),
        out_(open_.last(under_way)) {
    std::ranges::fill(open_, MPI_REQUEST_NULL);
  }

  /// The i-th message: on the last node its content is there, and goes; elsewhere it may come.
  void open(std::size_t i, std::span<T> content) {
    if (node_ == last_) return send(i, content, 0);
    check_mpi(MPI_Irecv(content.data(), static_cast<int>(content.size()), mpi_datatype<T>(),
                        node_ == 0 ? last_ : node_ - 1, 1, across_, &in_[i % in_.size()]),
              "MPI_Irecv");
  }

  /// Returns when it is there; it goes on to the next node.
  void close(std::size_t i, std::span<T> content) {
    if (node_ == last_) return;
    check_mpi(MPI_Wait(&in_[i % in_.size()], MPI_STATUS_IGNORE), "MPI_Wait");
    if (node_ + 1 < last_) send(i, content, node_ + 1);
  }

  /// Returns when all has gone.
  void finish() {
    check_mpi(MPI_Waitall(static_cast<int>(out_.size()), out_.data(), MPI_STATUSES_IGNORE),
              "MPI_Waitall");
  }

 private:
  void send(std::size_t i, std::span<T const> content, int to) {
    auto& request = out_[i % out_.size()];
    check_mpi(MPI_Wait(&request, MPI_STATUS_IGNORE), "MPI_Wait");
    check_mpi(MPI_Isend(content.data(), static_cast<int>(content.size()), mpi_datatype<T>(), to, 1,
                        across_, &request),
              "MPI_Isend");
  }

  MPI_Comm across_;
  int node_, last_;
  std::span<MPI_Request> open_, in_, out_;
};

/// The results of a reduce-scatter, from the last node to the others. A rank of the last node
/// writes them where its own values would be in the window: nobody looks for them there.
template <class T> class Delivery {
 public:
  Delivery(MPI_Comm across, int node, int last)
      : across_(across),
        node_(node),
        last_(last),
        open_(exchange_space<MPI_Request>(2 * static_cast<std::size_t>(last + 1))) {
    std::ranges::fill(open_, MPI_REQUEST_NULL);
  }

  /// The i-th result may come.
  void expect(std::size_t i, std::span<T> result) {
    auto& request = open_[i % open_.size()];
    check_mpi(MPI_Wait(&request, MPI_STATUS_IGNORE), "MPI_Wait");
    check_mpi(MPI_Irecv(result.data(), static_cast<int>(result.size()), mpi_datatype<T>(), last_, 1,
                        across_, &request),
              "MPI_Irecv");
  }

  /// Where the i-th result for a node may be written: what was there two results ago has gone.
  void make_room(std::size_t i, int to) {
    check_mpi(MPI_Wait(&sent(i, to), MPI_STATUS_IGNORE), "MPI_Wait");
  }
  void send(std::size_t i, int to, std::span<T const> result) {
    check_mpi(MPI_Isend(result.data(), static_cast<int>(result.size()), mpi_datatype<T>(), to, 1,
                        across_, &sent(i, to)),
              "MPI_Isend");
  }

  /// Returns when all has come, or gone.
  void finish() {
    check_mpi(MPI_Waitall(static_cast<int>(open_.size()), open_.data(), MPI_STATUSES_IGNORE),
              "MPI_Waitall");
  }

 private:
  MPI_Request& sent(std::size_t i, int to) {
    return open_[i % 2 * static_cast<std::size_t>(last_ + 1) + static_cast<std::size_t>(to)];
  }

  MPI_Comm across_;
  int node_, last_;
  std::span<MPI_Request> open_;
};

}  // namespace nxd::detail
