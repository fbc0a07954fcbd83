// SPDX-License-Identifier: Apache-2.0
//
// How do collectives of one fixed order compare with MPI's own? Prints how many times as fast ours
// are: the median, and the best tenth. Both are timed in turn, in one run, on values that each rank
// has just written, as a backward pass does; first where ranks can map each other's values, as
// those of tensors, then in memory of their own. `made_in_place` gathers what is only half of other
// values, as ZeRO-1 gathers weights. NXD_WINDOWS=off times ours without shared memory.
//
//   mpirun -np N collectives [--json]

#include <cstdio>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include <nxd/comm/guard.hpp>
#include <nxd/comm/made_in_place.hpp>
#include <nxd/comm/reduce.hpp>

#include "measure.hpp"

namespace {

using namespace nxd;

/// Values of one rank, in memory that its peers can map where `shared`.
class Values {
 public:
  Values(std::size_t n, bool shared) : own_(shared ? 0 : n), n_(n) {
    if (!shared) return;
    shared_ = static_cast<float*>(SharedMemory::of_process().allocate(n * sizeof(float)));
    if (shared_ == nullptr) throw std::bad_alloc();
  }
  Values(Values const&) = delete;
  Values& operator=(Values const&) = delete;
  ~Values() { SharedMemory::of_process().deallocate(shared_); }

  std::span<float> span() { return {shared_ == nullptr ? own_.data() : shared_, n_}; }
  std::span<float const> constant() { return span(); }
  float* data() { return span().data(); }

 private:
  std::vector<float> own_;
  float* shared_ = nullptr;
  std::size_t n_;
};

/// Seconds of one call on the slowest rank, over `repeats` of them, each after `write`.
double slowest(std::function<void()> const& write, std::function<void()> const& call, int repeats) {
  double elapsed = 0;
  for (int i = 0; i < repeats; ++i) {
    write();
    MPI_Barrier(MPI_COMM_WORLD);
    elapsed += bench::seconds(call) / repeats;
  }
  MPI_Allreduce(MPI_IN_PLACE, &elapsed, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
  return elapsed;
}

using Work = std::function<void()>;

bench::Pair compare(Work const& write, Work const& ours, Work const& theirs, std::size_t bytes) {
  int const repeats = bytes < 100'000 ? 100 : bytes < 1'000'000 ? 20 : bytes < 10'000'000 ? 4 : 1;
  int const turns = bytes < 100'000'000 ? 31 : 15;
  return bench::compare(ours, theirs, turns,
                        [&](Work const& work) { return slowest(write, work, repeats); });
}

void measure(Mpi& mpi, std::size_t bytes, bool shared,
             std::function<void(char const*, std::size_t, bench::Pair)> const& tell) {
  Line const line{0, 1, mpi.size(), mpi.rank()};
  auto const ranks = static_cast<std::size_t>(mpi.size());
  auto const n = bytes / sizeof(float) / ranks * ranks;
  auto const count = static_cast<int>(n), block = static_cast<int>(n / ranks);
  Values whole(n, shared), other(n, shared), slice(n / ranks, shared);
  auto const filling = [](Values& values) {
    return [&values] { std::ranges::fill(values.span(), 1.0f); };
  };
  tell("all_reduce", bytes,
       compare(
           filling(whole), [&] { all_reduce(mpi, line, whole.span()); },
           [&] {
             MPI_Allreduce(MPI_IN_PLACE, whole.data(), count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
           },
           bytes));
  tell("reduce_scatter", bytes,
       compare(
           filling(whole), [&] { reduce_scatter(mpi, line, whole.constant(), slice.span()); },
           [&] {
             MPI_Reduce_scatter_block(whole.data(), slice.data(), block, MPI_FLOAT, MPI_SUM,
                                      MPI_COMM_WORLD);
           },
           bytes));
  tell("all_gather", bytes,
       compare(
           filling(slice), [&] { mpi.all_gather(line, slice.constant(), other.span()); },
           [&] {
             MPI_Allgather(slice.data(), block, MPI_FLOAT, other.data(), block, MPI_FLOAT,
                           MPI_COMM_WORLD);
           },
           bytes));
  auto const part = n / ranks;
  auto const mine = other.span().subspan(static_cast<std::size_t>(mpi.rank()) * part, part);
  auto const make = [&](auto const& made) {
    constexpr std::size_t piece = std::size_t{1} << 14;
    for (std::size_t first = 0; first < part; first += piece) {
      auto const last = std::min(part, first + piece);
      for (auto i = first; i < last; ++i) mine[i] = 0.5f * slice.data()[i];
      made(static_cast<std::int64_t>(first), static_cast<std::int64_t>(last - first));
    }
  };
  tell("made_in_place", bytes,
       compare(
           filling(slice),
           [&] {
             MadeInPlace gather(mpi, line, other.span());
             make([&](std::int64_t first, std::int64_t made) { gather.made(first, made); });
             gather.finish();
           },
           [&] {
             make([](std::int64_t, std::int64_t) {});
             MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, other.data(), block, MPI_FLOAT,
                           MPI_COMM_WORLD);
           },
           bytes));
}

}  // namespace

int main(int argc, char** argv) {
  bool const json = argc > 1 && std::strcmp(argv[1], "--json") == 0;
  return guard_main(argc, argv, [&](Mpi mpi) {
    std::string rows;
    bool shared = true;
    auto const tell = [&](char const* name, std::size_t bytes, bench::Pair t) {
      char row[256];
      std::snprintf(row, sizeof row,
                    json ? "%s{\"collective\": \"%s\", \"memory\": \"%s\", \"bytes\": %zu, "
                           "\"ours_us\": %.2f, \"mpi_us\": %.2f, \"speedup\": %.3f, "
                           "\"best\": %.3f}"
                         : "%s%-14s %-7s %10zu %10.1f %10.1f %7.2f %7.2f\n",
                    json && !rows.empty() ? ", " : "", name, shared ? "shared" : "own", bytes,
                    t.ours * 1e6, t.theirs * 1e6, 1 / t.ratio, 1 / t.best);
      rows += row;
    };
    for (bool const where : {true, false}) {
      shared = where;
      for (std::size_t const kib : {1, 256, 4096, 32768, 262144})
        measure(mpi, kib << 10, shared, tell);
    }
    if (mpi.rank() != 0) return 0;
    if (json)
      std::printf("{\"benchmark\": \"collectives\", \"ranks\": %d, \"rows\": [%s]}\n",
                  static_cast<int>(mpi.size()), rows.c_str());
    else
      std::printf("%d ranks\n%-14s %-7s %10s %10s %10s %7s %7s\n%s", static_cast<int>(mpi.size()),
                  "collective", "memory", "bytes", "ours us", "MPI's us", "faster", "best",
                  rows.c_str());
    return 0;
  });
}
