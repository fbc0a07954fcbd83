// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <exception>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <nxd/comm/communicator.hpp>
#include <nxd/comm/mpi_chain.hpp>
#include <nxd/comm/mpi_line.hpp>
#include <nxd/comm/mpi_types.hpp>
#include <nxd/comm/reduce.hpp>
#include <nxd/core/error.hpp>
#include <nxd/core/expects.hpp>

namespace nxd {

/// A message on its way: the memory that it leaves from or comes to must stay as it is until `wait`
/// returns, or the end of this object, which waits too (but not on the way out of an error).
class [[nodiscard]] Pending {
 public:
  Pending() = default;
  explicit Pending(MPI_Request request) : request_(request) {}
  Pending(Pending&& other) noexcept : request_(std::exchange(other.request_, MPI_REQUEST_NULL)) {}
  Pending& operator=(Pending&& other) {
    wait();
    request_ = std::exchange(other.request_, MPI_REQUEST_NULL);
    return *this;
  }
  ~Pending() {
    if (std::uncaught_exceptions() == 0 && request_ != MPI_REQUEST_NULL)
      MPI_Wait(&request_, MPI_STATUS_IGNORE);
  }

  /// Returns when the message has gone, or come.
  void wait() { detail::check_mpi(MPI_Wait(&request_, MPI_STATUS_IGNORE), "MPI_Wait"); }

  /// Has the message gone, or come?
  bool done() {
    int yes = 0;
    detail::check_mpi(MPI_Test(&request_, &yes, MPI_STATUS_IGNORE), "MPI_Test");
    return yes != 0;
  }

 private:
  MPI_Request request_ = MPI_REQUEST_NULL;
};

/// The ranks of an MPI job. Copies are the same communicator. Lines get communicators of their own,
/// made by their members when they first meet and kept until MPI ends: to free one is a collective
/// call, which a rank that fails must not wait in.
///
/// Ranks that share a node get a window too, a piece of shared memory for each line: sums, gathers
/// and short broadcasts go through it, or straight to and from memory of `SharedMemory`. Sums over
/// several nodes go through the windows of each and, one sum for a node, from node to node.
class Mpi {
 public:
  /// @throws ConfigError if the environment asks for windows in words that it has not
  explicit Mpi(boost::mpi::communicator world = {}, Nodes nodes = Nodes::from_environment())
      : state_(std::make_shared<State>()) {
    state_->world = std::move(world);
    state_->nodes = nodes;
    if (nodes.windows && detail::ranks_on_node() > 1) SharedMemory::of_process().want(true);
    MPI_Comm_set_errhandler(state_->world, MPI_ERRORS_RETURN);
  }

  std::int64_t rank() const { return state_->world.rank(); }
  std::int64_t size() const { return state_->world.size(); }

  template <class T> void all_gather(Line line, std::span<T const> in, std::span<T> out) {
    NXD_EXPECTS(std::ssize(out) == std::ssize(in) * line.count);
    detail::BlockType const block(in.size(), mpi_datatype<T>());
    if (line.count == 1) return void(std::ranges::copy(in, out.begin()));
    if (auto* const window = window_of(line); window && detail::all_gather(*window, in, out))
      return;
    detail::check_mpi(MPI_Allgather(in.data(), block.count(), block.type(), out.data(),
                                    block.count(), block.type(), communicator(line)),
                      "MPI_Allgather");
  }

  /// See `nxd::all_gather_in_place`.
  template <class T> void all_gather_in_place(Line line, std::span<T> all) {
    auto const n = all.size() / static_cast<std::size_t>(line.count);
    detail::BlockType const block(n, mpi_datatype<T>());
    std::span<T const> const mine = all.subspan(static_cast<std::size_t>(line.place) * n, n);
    if (line.count == 1) return;
    if (auto* const window = window_of(line); window && detail::all_gather(*window, mine, all))
      return;
    detail::check_mpi(MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, all.data(), block.count(),
                                    block.type(), communicator(line)),
                      "MPI_Allgather");
  }

  /// The window by which a rank's block of an all-gather can be written to the others as it is
  /// made: see `MadeInPlace`. nullptr if there is a faster way, or none.
  template <class T> Window* open_block(Line line, std::span<T> all) {
    auto* const window = window_of(line);
    return window != nullptr && detail::open_block(*window, all) ? window : nullptr;
  }

  template <class T> void all_to_all(Line line, std::span<T const> in, std::span<T> out) {
    NXD_EXPECTS(out.size() == in.size() && std::ssize(in) % line.count == 0);
    detail::BlockType const block(in.size() / static_cast<std::size_t>(line.count),
                                  mpi_datatype<T>());
    if (line.count == 1) return void(std::ranges::copy(in, out.begin()));
    detail::check_mpi(MPI_Alltoall(in.data(), block.count(), block.type(), out.data(),
                                   block.count(), block.type(), communicator(line)),
                      "MPI_Alltoall");
  }

  template <class T> void broadcast(Line line, std::int64_t root, std::span<T> data) {
    detail::BlockType const block(data.size(), mpi_datatype<T>());
    if (line.count == 1) return;
    if (auto* const window = window_of(line); window && detail::broadcast(*window, root, data))
      return;
    detail::check_mpi(MPI_Bcast(data.data(), block.count(), block.type(), static_cast<int>(root),
                                communicator(line)),
                      "MPI_Bcast");
  }

  /// In rank order: see `nxd::reduce_scatter`.
  template <class T> void reduce_scatter(Line line, std::span<T const> in, std::span<T> out) {
    static_assert(has_mpi_datatype<T>);
    if (auto* const window = window_of(line)) return detail::reduce_scatter(*window, in, out);
    auto& known = line_of(line);
    if (!out.empty() && detail::worth_a_chain<T>(known, Exchange::reduce_scatter))
      detail::ReduceScatterAcross<T>(known, in, out)();
    else
      detail::reduce_scatter_by_exchange(*this, line, in, out);
  }

  /// In rank order: see `nxd::all_reduce`.
  template <class T> void all_reduce(Line line, std::span<T> values, Op op) {
    static_assert(has_mpi_datatype<T>);
    if (auto* const window = window_of(line)) return detail::all_reduce(*window, values, op);
    auto& known = line_of(line);
    if (values.size_bytes() > detail::small_message &&
        detail::worth_a_chain<T>(known, Exchange::all_reduce))
      detail::all_reduce_across(known, values, op);
    else
      detail::all_reduce_by_exchange(*this, line, values, op);
  }

  template <class T> void send(std::int64_t to, int tag, std::span<T const> data) {
    detail::BlockType const block(data.size(), mpi_datatype<T>());
    detail::check_mpi(MPI_Send(data.data(), block.count(), block.type(), static_cast<int>(to), tag,
                               state_->world),
                      "MPI_Send");
  }

  /// @throws Error if the message has another length
  template <class T> void receive(std::int64_t from, int tag, std::span<T> data) {
    detail::BlockType const block(data.size(), mpi_datatype<T>());
    MPI_Status status;
    detail::check_mpi(MPI_Recv(data.data(), block.count(), block.type(), static_cast<int>(from),
                               tag, state_->world, &status),
                      "MPI_Recv");
    int blocks = 0;
    MPI_Get_count(&status, block.type(), &blocks);
    if (blocks != block.count())
      throw Error(ExitCode::desync, "rank " + std::to_string(rank()) + " expects " +
                                        std::to_string(data.size_bytes()) + " bytes from rank " +
                                        std::to_string(from) + ", which sent fewer");
  }

  /// Starts to send. The receiver may use `receive` or `post_receive`.
  template <class T> Pending post_send(std::int64_t to, int tag, std::span<T const> data) {
    detail::BlockType const block(data.size(), mpi_datatype<T>());
    MPI_Request request = MPI_REQUEST_NULL;
    detail::check_mpi(MPI_Isend(data.data(), block.count(), block.type(), static_cast<int>(to), tag,
                                state_->world, &request),
                      "MPI_Isend");
    return Pending(request);
  }

  /// Starts to receive into `data`.
  template <class T> Pending post_receive(std::int64_t from, int tag, std::span<T> data) {
    detail::BlockType const block(data.size(), mpi_datatype<T>());
    MPI_Request request = MPI_REQUEST_NULL;
    detail::check_mpi(MPI_Irecv(data.data(), block.count(), block.type(), static_cast<int>(from),
                                tag, state_->world, &request),
                      "MPI_Irecv");
    return Pending(request);
  }

  /// See `nxd::between_nodes`.
  bool between_nodes(Line line) { return line_of(line).scattered; }

  void barrier() { detail::check_mpi(MPI_Barrier(state_->world), "MPI_Barrier"); }

  /// Any object that Boost.Serialization can take, from rank `root` to all: for configurations and
  /// other small things between ranks of one build.
  template <class T> void broadcast_object(T& object, int root = 0) {
    boost::mpi::broadcast(state_->world, object, root);
  }

  /// The same ranks, whose exchanges never meet those of this communicator. All make it together.
  Mpi apart() const { return Mpi({state_->world, boost::mpi::comm_duplicate}); }

  /// The ranks of this job that share this rank's node.
  std::vector<std::int64_t> same_node() const {
    MPI_Comm node = MPI_COMM_NULL;
    detail::check_mpi(
        MPI_Comm_split_type(state_->world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node),
        "MPI_Comm_split_type");
    boost::mpi::communicator const shared(node, boost::mpi::comm_take_ownership);
    std::vector<int> ranks;
    boost::mpi::all_gather(shared, state_->world.rank(), ranks);
    return {ranks.begin(), ranks.end()};
  }

 private:
  struct State {
    boost::mpi::communicator world;
    Nodes nodes;
    std::map<std::tuple<std::int64_t, std::int64_t, std::int64_t>, detail::MpiLine> lines;
  };

  MPI_Comm communicator(Line line) { return line_of(line).all; }

  /// The window of a line all of whose ranks share a node, or nullptr.
  Window* window_of(Line line) {
    auto const& known = line_of(line);
    return known.across == MPI_COMM_NULL ? known.window.get() : nullptr;
  }

  detail::MpiLine& line_of(Line line) {
    auto const key = std::tuple{line.first, line.stride, line.count};
    auto const found = state_->lines.find(key);
    if (found != state_->lines.end()) return found->second;
    auto const all = line.count == size() ? MPI_Comm(state_->world) : make(line);
    return state_->lines.emplace(key, detail::open_line(all, line, state_->nodes)).first->second;
  }

  /// Only the members of the line make this call.
  MPI_Comm make(Line line) const {
    std::vector<int> ranks;
    for (std::int64_t i = 0; i < line.count; ++i) ranks.push_back(static_cast<int>(line.rank(i)));
    MPI_Group all = MPI_GROUP_NULL, members = MPI_GROUP_NULL;
    MPI_Comm made = MPI_COMM_NULL;
    MPI_Comm_group(state_->world, &all);
    MPI_Group_incl(all, static_cast<int>(ranks.size()), ranks.data(), &members);
    auto const tag = static_cast<int>(line.first * 31 + line.stride * 7 + line.count) & 0x3fff;
    auto const code = MPI_Comm_create_group(state_->world, members, tag, &made);
    MPI_Group_free(&members);
    MPI_Group_free(&all);
    detail::check_mpi(code, "MPI_Comm_create_group");
    MPI_Comm_set_errhandler(made, MPI_ERRORS_RETURN);
    return made;
  }

  std::shared_ptr<State> state_;
};

static_assert(Communicator<Mpi>);

}  // namespace nxd
