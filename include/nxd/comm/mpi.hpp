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

#include <boost/mpi.hpp>

#include <nxd/comm/communicator.hpp>
#include <nxd/comm/roll_call.hpp>
#include <nxd/core/dtype.hpp>
#include <nxd/core/error.hpp>
#include <nxd/core/expects.hpp>

namespace nxd {

namespace detail {

/// Frees a datatype when MPI ends: MPI_Finalize deletes the attributes of MPI_COMM_SELF first.
inline void free_when_mpi_ends(MPI_Datatype& type) {
  auto* const free_it = +[](MPI_Comm, int, void* value, void*) -> int {
    return MPI_Type_free(static_cast<MPI_Datatype*>(value));
  };
  int key = MPI_KEYVAL_INVALID;
  MPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, free_it, &key, nullptr);
  MPI_Comm_set_attr(MPI_COMM_SELF, key, &type);
  MPI_Comm_free_keyval(&key);
}

/// Two bytes that travel as they are. Freed when MPI ends.
inline MPI_Datatype half_type() {
  static MPI_Datatype type = [] {
    MPI_Datatype made = MPI_DATATYPE_NULL;
    MPI_Type_contiguous(2, MPI_BYTE, &made);
    MPI_Type_commit(&made);
    return made;
  }();
  [[maybe_unused]] static bool const once = (free_when_mpi_ends(type), true);
  return type;
}

template <class T>
inline constexpr bool is_half = std::is_same_v<T, bf16> || std::is_same_v<T, fp16>;

/// @throws Error naming the call
inline void check_mpi(int code, char const* call) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0, sort = 0;
  MPI_Error_string(code, text, &length);
  MPI_Error_class(code, &sort);
  auto const sentence = std::string(call) + ": " + std::string(text, text + length);
  if (sort != MPI_ERR_TRUNCATE) throw Error(ExitCode::internal, sentence);
  // What came is longer than what was expected: ranks do not do the same.
  auto const difference = RollCall::difference();
  throw Error(ExitCode::desync, difference.empty() ? sentence : difference + " (" + call + ")");
}

}  // namespace detail

/// T travels over MPI as what it is: MPI has a datatype for it. Other types go as serialized
/// objects, on request: there is no silent slow path.
template <class T>
inline constexpr bool has_mpi_datatype =
    detail::is_half<T> || std::is_same_v<T, std::byte> || boost::mpi::is_mpi_datatype<T>::value;

/// The MPI datatype of T.
template <class T> MPI_Datatype mpi_datatype() {
  static_assert(nxd::has_mpi_datatype<T>,
                "Mpi: this type has no MPI datatype; send its bytes, or use broadcast_object");
  if constexpr (detail::is_half<T>)
    return detail::half_type();
  else if constexpr (std::is_same_v<T, std::byte>)
    return MPI_BYTE;
  else if constexpr (has_mpi_datatype<T>)
    return boost::mpi::get_mpi_datatype<T>();
  else
    return MPI_DATATYPE_NULL;
}

namespace detail {

/// A block of n elements as something that MPI can count: `most` of one kind is the limit of an
/// int.
class BlockType {
 public:
  BlockType(std::size_t n, MPI_Datatype element, std::size_t most = std::numeric_limits<int>::max())
      : count_(static_cast<int>(n)), type_(element) {
    if (n <= most) return;
    auto const chunk = std::min(most, std::size_t{1} << 20);
    MPI_Aint lower = 0, extent = 0;
    MPI_Type_get_extent(element, &lower, &extent);
    MPI_Datatype whole = MPI_DATATYPE_NULL, rest = MPI_DATATYPE_NULL, part = MPI_DATATYPE_NULL;
    MPI_Type_contiguous(static_cast<int>(chunk), element, &part);
    MPI_Type_contiguous(static_cast<int>(n / chunk), part, &whole);
    MPI_Type_contiguous(static_cast<int>(n % chunk), element, &rest);
    int const lengths[] = {1, 1};
    MPI_Aint const places[] = {0, static_cast<MPI_Aint>(n / chunk * chunk) * extent};
    MPI_Datatype const types[] = {whole, rest};
    MPI_Type_create_struct(2, lengths, places, types, &type_);
    MPI_Type_commit(&type_);
    for (auto* t : {&whole, &rest, &part}) MPI_Type_free(t);
    count_ = 1;
    owns_ = true;
  }
  BlockType(BlockType const&) = delete;
  BlockType& operator=(BlockType const&) = delete;
  /// On the way out of an error it calls nothing: MPI is about to be aborted.
  ~BlockType() {
    if (owns_ && std::uncaught_exceptions() == 0) MPI_Type_free(&type_);
  }
  int count() const { return count_; }
  MPI_Datatype type() const { return type_; }

 private:
  int count_;
  MPI_Datatype type_;
  bool owns_ = false;
};

}  // namespace detail

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
class Mpi {
 public:
  explicit Mpi(boost::mpi::communicator world = {}) : state_(std::make_shared<State>()) {
    state_->world = std::move(world);
    MPI_Comm_set_errhandler(state_->world, MPI_ERRORS_RETURN);
  }

  std::int64_t rank() const { return state_->world.rank(); }
  std::int64_t size() const { return state_->world.size(); }

  template <class T> void all_gather(Line line, std::span<T const> in, std::span<T> out) {
    NXD_EXPECTS(std::ssize(out) == std::ssize(in) * line.count);
    detail::BlockType const block(in.size(), mpi_datatype<T>());
    if (line.count == 1) return void(std::ranges::copy(in, out.begin()));
    detail::check_mpi(MPI_Allgather(in.data(), block.count(), block.type(), out.data(),
                                    block.count(), block.type(), communicator(line)),
                      "MPI_Allgather");
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
    detail::check_mpi(MPI_Bcast(data.data(), block.count(), block.type(), static_cast<int>(root),
                                communicator(line)),
                      "MPI_Bcast");
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
    std::map<std::tuple<std::int64_t, std::int64_t, std::int64_t>, MPI_Comm> lines;
  };

  MPI_Comm communicator(Line line) {
    if (line.count == size()) return state_->world;
    auto const key = std::tuple{line.first, line.stride, line.count};
    auto const found = state_->lines.find(key);
    return found != state_->lines.end() ? found->second
                                        : state_->lines.emplace(key, make(line)).first->second;
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
