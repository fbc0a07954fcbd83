// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <exception>
#include <limits>
#include <string>
#include <type_traits>

#include <boost/mpi.hpp>

#include <nxd/comm/roll_call.hpp>
#include <nxd/core/dtype.hpp>
#include <nxd/core/error.hpp>

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

}  // namespace nxd
