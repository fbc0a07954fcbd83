// SPDX-License-Identifier: Apache-2.0
#include "mpi_main.hpp"

#include <nxd/comm/reduce.hpp>
#include <nxd/comm/threads.hpp>
#include <nxd/core/random.hpp>

using namespace nxd;

namespace {

/// What rank `rank` brings to an exchange: floats whose sums depend on their order.
std::vector<float> contribution(std::int64_t rank, std::size_t n) {
  std::vector<float> values(n);
  Stream const stream(3, "contribution", static_cast<std::uint64_t>(rank));
  for (std::size_t i = 0; i < n; ++i)
    values[i] = static_cast<float>(stream.normal(i) * (i % 3 == 0 ? 1e4 : 1e-3));
  return values;
}

/// The results of all collectives on lines of `ranks`, one after the other.
std::vector<float> exchanges(auto comm, std::size_t n) {
  std::vector<float> all;
  auto const keep = [&](std::vector<float> const& values) {
    all.insert(all.end(), values.begin(), values.end());
  };
  auto const size = comm.size(), rank = static_cast<std::int64_t>(comm.rank());
  std::vector<Line> lines{{0, 1, size, rank}};
  if (size == 4) {
    lines.push_back({rank / 2 * 2, 1, 2, rank % 2});  // neighbours
    lines.push_back({rank % 2, 2, 2, rank / 2});      // every other one
  }
  for (auto const line : lines) {
    auto const mine = contribution(rank, n * static_cast<std::size_t>(line.count));
    auto const in = std::span<float const>(mine);
    auto sum = mine, most = mine;
    all_reduce(comm, line, std::span<float>(sum));
    all_reduce(comm, line, std::span<float>(most), Op::max);
    keep(sum);
    keep(most);
    std::vector<float> part(n), gathered(mine.size() * static_cast<std::size_t>(line.count)),
        turned(mine.size()), told = mine;
    reduce_scatter(comm, line, in, std::span<float>(part));
    keep(part);
    comm.all_gather(line, in, std::span<float>(gathered));
    keep(gathered);
    comm.all_to_all(line, in, std::span<float>(turned));
    keep(turned);
    comm.broadcast(line, line.count - 1, std::span<float>(told));
    keep(told);
  }
  return all;
}

}  // namespace

TEST_CASE("MPI and threads give the same bits") {
  auto& comm = *test::world();
  for (std::size_t const n : {std::size_t{1}, std::size_t{37}, std::size_t{5000}}) {
    std::vector<std::vector<float>> expected(static_cast<std::size_t>(comm.size()));
    Threads::run(comm.size(), [&](Threads::Rank rank) {
      expected[static_cast<std::size_t>(rank.rank())] = exchanges(rank, n);
    });
    CHECK(exchanges(comm, n) == expected[static_cast<std::size_t>(comm.rank())]);
  }
}

TEST_CASE("an all-reduce has the bits of a reduce-scatter") {
  auto& comm = *test::world();
  Line const line{0, 1, comm.size(), comm.rank()};
  for (std::size_t const n : {std::size_t{3}, std::size_t{4000}}) {
    auto sum = contribution(comm.rank(), n * static_cast<std::size_t>(comm.size()));
    std::vector<float> part(n);
    reduce_scatter(comm, line, std::span<float const>(sum), std::span<float>(part));
    all_reduce(comm, line, std::span<float>(sum));
    auto const at = sum.begin() + static_cast<std::ptrdiff_t>(n) * comm.rank();
    CHECK(std::equal(part.begin(), part.end(), at));
  }
}

TEST_CASE("messages travel between two ranks, bf16 too") {
  auto& comm = *test::world();
  if (comm.size() < 2) return;
  std::vector<bf16> letter{to_bf16(1.5f), to_bf16(-2.f)};
  if (comm.rank() == 0) comm.send(1, 5, std::span<bf16 const>(letter));
  if (comm.rank() == 1) {
    std::vector<bf16> got(2);
    comm.receive(0, 5, std::span<bf16>(got));
    CHECK(got == letter);
  }
}

TEST_CASE("objects are broadcast") {
  std::string text = test::world()->rank() == 0 ? "plan" : "";
  test::world()->broadcast_object(text);
  CHECK(text == "plan");
}

TEST_CASE("ranks of one machine share a node") {
  CHECK(std::ssize(test::world()->same_node()) == test::world()->size());
}
