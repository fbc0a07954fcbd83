// SPDX-License-Identifier: Apache-2.0
//
// How do collectives of one fixed order compare with MPI's own? Prints the ratio of times, ours
// over MPI's: below 1 ours is faster. Both are timed in turn, in one run.
//
//   mpirun -np N collectives [--json]

#include <cstdio>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include <nxd/comm/guard.hpp>
#include <nxd/comm/reduce.hpp>

#include "measure.hpp"

namespace {

using namespace nxd;

/// Seconds of one call on the slowest rank, over `repeats` of them.
double slowest(std::function<void()> const& call, int repeats) {
  MPI_Barrier(MPI_COMM_WORLD);
  double elapsed = bench::seconds([&] {
    for (int i = 0; i < repeats; ++i) call();
  });
  elapsed /= repeats;
  MPI_Allreduce(MPI_IN_PLACE, &elapsed, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
  return elapsed;
}

bench::Pair compare(std::function<void()> const& ours, std::function<void()> const& theirs,
                    std::size_t bytes) {
  int const repeats = bytes < 100'000 ? 200 : bytes < 1'000'000 ? 30 : bytes < 10'000'000 ? 4 : 1;
  return bench::compare(ours, theirs, 11, [=](auto const& work) { return slowest(work, repeats); });
}

void measure(Mpi& mpi, std::size_t bytes,
             std::function<void(char const*, std::size_t, bench::Pair)> const& tell) {
  Line const line{0, 1, mpi.size(), mpi.rank()};
  auto const ranks = static_cast<std::size_t>(mpi.size());
  auto const n = bytes / sizeof(float) / ranks * ranks;
  auto const count = static_cast<int>(n), block = static_cast<int>(n / ranks);
  std::vector<float> whole(n), other(n), slice(n / ranks);
  std::span<float const> const in(whole), part(slice);

  tell("all_reduce", bytes,
       compare([&] { all_reduce(mpi, line, std::span<float>(whole)); },
               [&] {
                 MPI_Allreduce(MPI_IN_PLACE, whole.data(), count, MPI_FLOAT, MPI_SUM,
                               MPI_COMM_WORLD);
               },
               bytes));
  tell("reduce_scatter", bytes,
       compare([&] { reduce_scatter(mpi, line, in, std::span<float>(slice)); },
               [&] {
                 MPI_Reduce_scatter_block(whole.data(), slice.data(), block, MPI_FLOAT, MPI_SUM,
                                          MPI_COMM_WORLD);
               },
               bytes));
  tell("all_gather", bytes,
       compare([&] { mpi.all_gather(line, part, std::span<float>(other)); },
               [&] {
                 MPI_Allgather(slice.data(), block, MPI_FLOAT, other.data(), block, MPI_FLOAT,
                               MPI_COMM_WORLD);
               },
               bytes));
}

}  // namespace

int main(int argc, char** argv) {
  bool const json = argc > 1 && std::strcmp(argv[1], "--json") == 0;
  return guard_main(argc, argv, [&](Mpi mpi) {
    std::string rows;
    auto const tell = [&](char const* name, std::size_t bytes, bench::Pair t) {
      char row[256];
      std::snprintf(row, sizeof row,
                    json ? "%s{\"collective\": \"%s\", \"bytes\": %zu, \"ours_us\": %.2f, "
                           "\"mpi_us\": %.2f, \"ratio\": %.3f}"
                         : "%s%-14s %10zu %12.1f %12.1f %8.2f\n",
                    json && !rows.empty() ? ", " : "", name, bytes, t.ours * 1e6, t.theirs * 1e6,
                    t.ratio);
      rows += row;
    };
    for (std::size_t const kib : {1, 256, 4096, 32768}) measure(mpi, kib << 10, tell);
    if (mpi.rank() != 0) return 0;
    if (json)
      std::printf("{\"benchmark\": \"collectives\", \"ranks\": %d, \"rows\": [%s]}\n",
                  static_cast<int>(mpi.size()), rows.c_str());
    else
      std::printf("%d ranks\n%-14s %10s %12s %12s %8s\n%s", static_cast<int>(mpi.size()),
                  "collective", "bytes", "ours us", "MPI's us", "ratio", rows.c_str());
    return 0;
  });
}
