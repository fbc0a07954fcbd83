// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sched.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <nxd/comm/mpi_types.hpp>
#include <nxd/comm/window.hpp>

namespace nxd {

/// Which ranks take each other for neighbours on a node, and whether they exchange through memory
/// that they share. Ranks of one job may be told different things: then they send messages.
struct Nodes {
  bool windows = true;
  /// So many ranks that follow each other count as one node, such as those of a NUMA domain; 0: as
  /// many as share memory.
  std::int64_t ranks = 0;

  /// NXD_WINDOWS, on or off, and NXD_RANKS_PER_NODE.
  /// @throws ConfigError if they are something else
  static Nodes from_environment() {
    Nodes nodes;
    if (char const* const said = std::getenv("NXD_WINDOWS")) {
      nodes.windows = std::string_view(said) == "on";
      if (!nodes.windows && std::string_view(said) != "off")
        throw ConfigError("NXD_WINDOWS is '" + std::string(said) + "'; say on or off");
    }
    if (char const* const said = std::getenv("NXD_RANKS_PER_NODE")) {
      std::string_view const text(said);
      auto const [end, error] = std::from_chars(text.begin(), text.end(), nodes.ranks);
      if (error != std::errc{} || end != text.end() || nodes.ranks < 1)
        throw ConfigError("NXD_RANKS_PER_NODE is '" + std::string(said) +
                          "'; say a number of ranks from 1 on");
    }
    return nodes;
  }
};

namespace detail {

/// What a rank knows of a line that it has met. It lasts until MPI ends.
struct MpiLine {
  MPI_Comm all = MPI_COMM_NULL;
  /// Of the members on this rank's node. None where no two share a node, or nodes have unlike
  /// numbers of members, or their members do not follow each other.
  std::unique_ptr<Window> window;
  /// The members at this one's place on each node, if there are several nodes.
  MPI_Comm across = MPI_COMM_NULL;
  bool scattered = false;  ///< no two members share a node
};

/// More ranks than this have no window: their pieces would be too small.
inline constexpr int most_ranks_of_a_window = 256;

/// What a rank does while it waits for others in a window: messages of its own go on, and others
/// get the core.
inline void progress_and_yield() {
  int none = 0;
  MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_SELF, &none, MPI_STATUS_IGNORE);
  sched_yield();
}

/// Ranks of this job on this node, if the launcher says it; 0 if not.
inline long ranks_on_node() {
  for (char const* const name : {"OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"})
    if (char const* const said = std::getenv(name)) return std::strtol(said, nullptr, 10);
  return 0;
}

inline Window::Looks looks_among(int ranks_of_line) {
  return std::max<long>(ranks_on_node(), ranks_of_line) <= sysconf(_SC_NPROCESSORS_ONLN)
             ? Window::Looks::as_with_cores
             : Window::Looks::none;
}

/// Whether the folder in which MPI makes shared memory has room for so many bytes: Open MPI 4 hangs
/// where it has not.
inline bool can_share(std::size_t bytes) {
  char const* const folder = std::getenv("OMPI_MCA_osc_sm_backing_directory");
  std::error_code error;
  auto const space = std::filesystem::space(folder != nullptr ? folder : "/dev/shm", error);
  return error || space.available / 2 > bytes;
}

/// The least of what the ranks of `comm` have, one by one.
template <std::size_t n> std::array<long, n> least(MPI_Comm comm, std::array<long, n> values) {
  check_mpi(
      MPI_Allreduce(MPI_IN_PLACE, values.data(), static_cast<int>(n), MPI_LONG, MPI_MIN, comm),
      "MPI_Allreduce");
  return values;
}

/// The ranks of `all` that share a node with this one.
inline MPI_Comm node_of(MPI_Comm all, Nodes const& nodes) {
  MPI_Comm sharing = MPI_COMM_NULL, node = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split_type(all, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &sharing),
            "MPI_Comm_split_type");
  int rank = 0;
  MPI_Comm_rank(sharing, &rank);
  auto const which = nodes.ranks == 0 ? 0 : rank / static_cast<int>(nodes.ranks);
  check_mpi(MPI_Comm_split(sharing, which, rank, &node), "MPI_Comm_split");
  MPI_Comm_free(&sharing);
  return node;
}

/// Memory of the ranks of `node`, a piece from each; empty if this rank can have none.
inline std::vector<std::byte*> share_memory(MPI_Comm node, int ranks) {
  MPI_Win window = MPI_WIN_NULL;
  void* mine = nullptr;
  MPI_Comm_set_errhandler(node, MPI_ERRORS_RETURN);
  if (MPI_Win_allocate_shared(static_cast<MPI_Aint>(Window::bytes(ranks)), 1, MPI_INFO_NULL, node,
                              &mine, &window) != MPI_SUCCESS)
    return {};
  std::vector<std::byte*> brought;
  for (int peer = 0; peer < ranks; ++peer) {
    MPI_Aint size = 0;
    int unit = 0;
    void* address = nullptr;
    check_mpi(MPI_Win_shared_query(window, peer, &size, &unit, &address), "MPI_Win_shared_query");
    brought.push_back(static_cast<std::byte*>(address));
  }
  Window::furnish(static_cast<std::byte*>(mine));
  return brought;
}

/// How the ranks of a line lie on nodes, if they all see it alike.
struct Berths {
  bool even;  ///< nodes have so many ranks each, which follow each other
  int ranks;
  bool scattered;  ///< no node has two
};

inline Berths berths(MPI_Comm all, MPI_Comm node, Nodes const& nodes, std::int64_t place) {
  int ranks = 0, rank = 0;
  MPI_Comm_size(node, &ranks);
  MPI_Comm_rank(node, &rank);
  long first = place;
  check_mpi(MPI_Bcast(&first, 1, MPI_LONG, 0, node), "MPI_Bcast");
  bool const in_order = place == first + rank && first % ranks == 0;
  bool const willing = nodes.windows && ranks <= most_ranks_of_a_window &&
                       can_share(Window::bytes(ranks) * static_cast<std::size_t>(ranks));
  auto const said =
      least(all, std::array<long, 6>{in_order, willing, ranks, -ranks, nodes.ranks, -nodes.ranks});
  return {said[0] == 1 && said[1] == 1 && said[2] == -said[3] && said[4] == -said[5], ranks,
          said[3] == -1};
}

/// Gets to know the line whose members are those of `all`, each of which makes this call.
inline MpiLine open_line(MPI_Comm all, Line line, Nodes const& nodes) {
  auto node = node_of(all, nodes);
  auto const [even, ranks, scattered] = berths(all, node, nodes, line.place);
  MpiLine opened{all, nullptr, MPI_COMM_NULL, scattered};
  auto const brought = even && ranks > 1 ? share_memory(node, ranks) : std::vector<std::byte*>{};
  if (least(all, std::array<long, 1>{!brought.empty()})[0] == 0) {
    if (brought.empty()) MPI_Comm_free(&node);
    return opened;
  }
  opened.window = std::make_unique<Window>(line.neighbours(ranks), brought, progress_and_yield,
                                           looks_among(ranks));
  if (ranks == line.count) return opened;
  auto const place = static_cast<int>(line.place);
  check_mpi(MPI_Comm_split(all, place % ranks, place, &opened.across), "MPI_Comm_split");
  MPI_Comm_set_errhandler(opened.across, MPI_ERRORS_RETURN);
  return opened;
}

}  // namespace detail

}  // namespace nxd
