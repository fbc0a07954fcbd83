// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <thread>

#include <boost/serialization/vector.hpp>

#include <nxd/comm/made_in_place.hpp>
#include <nxd/comm/mpi.hpp>
#include <nxd/comm/threads.hpp>

#include "exchanges.hpp"
#include "mpi_main.hpp"

using namespace nxd;
using namespace nxd::test;

namespace {

/// n elements in memory that the ranks of this node can map.
template <class T> std::span<T> shared_span(std::size_t n) {
  auto* const memory = SharedMemory::of_process().allocate(n * sizeof(T) + 64);
  REQUIRE(memory != nullptr);
  return {static_cast<T*>(memory) + 1, n};
}

/// The same noise over and over.
template <class T> void fill(std::span<T> values, std::int64_t seed) {
  auto const some = noise<T>(1009, seed);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = some[i % some.size()];
}

/// Each rank makes its block, of which it says so in three pieces, and gets those of the others.
template <class T, class C> void make_in_place(C& comm, Line line, std::span<T> all) {
  auto const n = std::ssize(all) / line.count;
  fill(all, -1);
  MadeInPlace<C, T> gather(comm, line, all);
  for (auto const& [first, last] : {std::pair{n / 2, n}, {n / 3, n / 2}, {0 * n, n / 3}}) {
    auto const at = static_cast<std::size_t>(line.place * n + first);
    fill(all.subspan(at, static_cast<std::size_t>(last - first)), comm.rank() + 70);
    gather.made(first, last - first);
  }
  gather.finish();
}

/// Long reductions and gathers along a line, each in memory of its own and in shared memory.
template <class T, class C> void exchange_long(C& comm, Line line, Digest& digest) {
  auto const count = static_cast<std::size_t>(line.count);
  for (std::size_t const n :
       {std::size_t{0}, std::size_t{1}, std::size_t{4097}, std::size_t{200'003}})
    for (bool const shared : {false, true}) {
      auto const space = shared ? shared_span<T>(n + n * count) : std::span<T>();
      std::vector<T> own(shared ? 0 : n + n * count), gathered(n * count);
      auto const values = (shared ? space : std::span<T>(own)).first(n);
      auto const blocks = (shared ? space : std::span<T>(own)).last(n * count);
      fill(values, comm.rank());
      fill(blocks, comm.rank() + 50);
      all_reduce(comm, line, values);
      digest.add(std::vector<T>(values.begin(), values.end()));
      reduce_scatter(comm, line, std::span<T const>(blocks), values);
      digest.add(std::vector<T>(values.begin(), values.end()));
      comm.all_gather(line, std::span<T const>(values), std::span<T>(gathered));
      digest.add(gathered);
      auto const place = static_cast<std::size_t>(line.place);
      std::ranges::copy(values, blocks.begin() + static_cast<std::ptrdiff_t>(place * n));
      all_gather_in_place(comm, line, blocks);
      CHECK(std::ranges::equal(std::as_bytes(blocks), std::as_bytes(std::span(gathered))));
      make_in_place(comm, line, blocks);
      digest.add(std::vector<T>(blocks.begin(), blocks.end()));
      comm.broadcast(line, line.count - 1, values);
      digest.add(std::vector<T>(values.begin(), values.end()));
      if (shared) SharedMemory::of_process().deallocate(space.data() - 1);
    }
}

template <class C> std::uint64_t digest_of_long_exchanges(C comm) {
  Digest digest;
  auto const n = static_cast<std::int64_t>(comm.size()), r = static_cast<std::int64_t>(comm.rank());
  exchange_long<float>(comm, {0, 1, n, r}, digest);
  exchange_long<bf16>(comm, {0, 1, n, r}, digest);
  if (n % 2 == 0) exchange_long<float>(comm, {r % 2, 2, n / 2, r / 2}, digest);
  return digest.value;
}

/// The ways that exchanges may go: by messages, through windows, through windows and from node to
/// node, and where nodes are unlike.
Nodes const ways[] = {{false, 0}, {true, 0}, {true, 2}, {true, 3}, {true, 4}};

// Two nodes of two: half the bytes of an all-reduce, and a reduce-scatter gains nothing.
static_assert(detail::chain_saves_bytes(2, 2, 1, Exchange::all_reduce));
static_assert(!detail::chain_saves_bytes(2, 2, 1, Exchange::reduce_scatter));
static_assert(detail::chain_saves_bytes(2, 4, 1, Exchange::reduce_scatter));
// The sums of bf16 are twice as wide.
static_assert(!detail::chain_saves_bytes(2, 2, 2, Exchange::all_reduce));
static_assert(detail::chain_saves_bytes(2, 4, 2, Exchange::all_reduce));
static_assert(detail::chain_saves_bytes(8, 16, 2, Exchange::reduce_scatter));

std::int64_t seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - start)
      .count();
}

}  // namespace

TEST_CASE("every way gives the bits of threads, whatever the length and the line") {
  auto& mpi = world();
  auto const ranks = static_cast<std::size_t>(mpi.size()),
             mine = static_cast<std::size_t>(mpi.rank());
  std::vector<std::uint64_t> on_threads(2 * ranks);
  if (mpi.rank() == 0)
    Threads::run(mpi.size(), [&](Threads::Rank c) {
      on_threads[static_cast<std::size_t>(c.rank())] = digest_of_long_exchanges(c);
      on_threads[ranks + static_cast<std::size_t>(c.rank())] = digest_of_exchanges(c);
    });
  mpi.broadcast_object(on_threads);
  for (auto const& nodes : ways) {
    CAPTURE(nodes.windows);
    CAPTURE(nodes.ranks);
    Mpi const way(boost::mpi::communicator(), nodes);
    CHECK(digest_of_long_exchanges(way) == on_threads[mine]);
    CHECK(digest_of_exchanges(way) == on_threads[ranks + mine]);
  }
}

TEST_CASE("ranks that are told different things send messages") {
  auto& mpi = world();
  for (Nodes const& other : {Nodes{false, 0}, Nodes{true, 2}}) {
    Mpi odd(boost::mpi::communicator(), mpi.rank() == 0 ? other : Nodes{});
    std::vector<float> values(10'000, 1);
    all_reduce(odd, everyone(odd), std::span<float>(values));
    CHECK(values.back() == static_cast<float>(mpi.size()));
  }
}

TEST_CASE("a message under way arrives while its sender waits in a window") {
  auto& mpi = world();
  auto const last = mpi.size() - 1;
  std::vector<float> big(1 << 20, static_cast<float>(mpi.rank()));
  char token = 'x';
  if (mpi.rank() < 2 && last > 0) {
    std::vector<double> one{0};
    all_reduce(mpi, Line{0, 1, 2, mpi.rank()}, std::span<double>(one));
    one[0] = 1;
    Pending going;
    if (mpi.rank() == 0) going = mpi.post_send(last, 1, constant(big));
    if (mpi.rank() == 1 && last > 1) mpi.receive(last, 2, std::span<char>(&token, 1));
    if (mpi.rank() == 1 && last == 1) mpi.receive(0, 1, std::span<float>(big));
    all_reduce(mpi, Line{0, 1, 2, mpi.rank()}, std::span<double>(one));
    CHECK(one[0] == 2);
    going.wait();
  } else if (mpi.rank() == last && last > 1) {
    mpi.receive(0, 1, std::span<float>(big));
    CHECK(big.back() == 0);
    mpi.send(1, 2, std::span<char const>(&token, 1));
  }
}

TEST_CASE("many short exchanges take their time where ranks take turns on a core, and no more") {
  auto& mpi = world();
  std::vector<double> value{0};
  auto const start = std::chrono::steady_clock::now();
  for (int i = 0; i < 500; ++i) {
    value[0] = 1;
    all_reduce(mpi, everyone(mpi), std::span<double>(value));
  }
  CHECK(value[0] == static_cast<double>(mpi.size()));
  CHECK(seconds_since(start) < 30);
}

// For windows_test.sh.
TEST_CASE("ranks exchange until they are killed" * doctest::skip()) {
  auto& mpi = world();
  for (auto const values = shared_span<float>(1 << 20);;)
    all_reduce(mpi, everyone(mpi), values, Op::max);
}

int main(int argc, char** argv) { return run_under_mpi(argc, argv); }
