// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstdint>
#include <span>
#include <string_view>

#include <nxd/dist/mesh.hpp>

namespace nxd {

/// What a rank can be asked to do with its peers.
enum class Exchange : std::uint8_t {
  all_gather,
  all_to_all,
  broadcast,
  all_reduce,
  reduce_scatter,
  send,
  receive,
  barrier,
};

/// Spellings.
constexpr auto names_of(Exchange) {
  return std::to_array<std::string_view>({"all_gather", "all_to_all", "broadcast", "all_reduce",
                                          "reduce_scatter", "send", "receive", "barrier"});
}

/// What a rank can do with its peers: exchange, never add. A communicator knows no axes; it is
/// handed a line of ranks, all of which make the same call. Sums are taken in one place,
/// `comm/reduce.hpp`, and so in one order, whatever carries the data.
///
///   all_gather(line, in, out)   out = the `in` of the line's ranks, one after the other
///   all_to_all(line, in, out)   block i of out = this rank's block of the `in` of rank i
///   broadcast(line, root, data) data = the data of the rank at place `root`
///   send(rank, tag, data), receive(rank, tag, data)  a message between two ranks of the job
///   barrier()                   all ranks of the job have come here
template <class C>
concept Communicator = requires(C& comm, Line line, std::span<float const> in, std::span<float> out,
                                std::int64_t rank, int tag) {
  { comm.rank() } -> std::convertible_to<std::int64_t>;
  { comm.size() } -> std::convertible_to<std::int64_t>;
  comm.all_gather(line, in, out);
  comm.all_to_all(line, in, out);
  comm.broadcast(line, rank, out);
  comm.send(rank, tag, in);
  comm.receive(rank, tag, out);
  comm.barrier();
};

/// Can travel between ranks byte by byte. A communicator may demand more: over MPI a type needs an
/// MPI datatype, or its use does not compile.
template <class T>
concept Transferable = std::is_trivially_copyable_v<T>;

/// A communicator that may be told of exchanges without elements, spans of nothing, and writes them
/// down.
template <class C> inline constexpr bool keeps_record = false;

}  // namespace nxd
