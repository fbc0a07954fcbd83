// SPDX-License-Identifier: Apache-2.0
#include <limits>

#include <doctest/doctest.h>

#include <nxd/comm/reduce.hpp>
#include <nxd/comm/single.hpp>
#include <nxd/comm/threads.hpp>

#include "exchanges.hpp"

using namespace nxd;
using namespace nxd::test;

static_assert(Communicator<Plain<Threads::Rank>>);

namespace {

/// Runs `program(comm)` on the exchange-only path and on the threads' own.
void on_both_paths(std::int64_t ranks, auto const& program) {
  Threads::run(ranks, [&](Threads::Rank comm) { program(comm); });
  Threads::run(ranks, [&](Threads::Rank comm) {
    Plain<Threads::Rank> plain{comm};
    program(plain);
  });
}

/// Sums of all ranks' noise, one rank after the other.
template <class T> std::vector<T> sums_in_rank_order(std::size_t n, std::int64_t ranks) {
  auto sums = noise<T>(n, 0);
  for (std::int64_t r = 1; r < ranks; ++r) {
    auto const terms = noise<T>(n, r);
    for (std::size_t i = 0; i < n; ++i) sums[i] += terms[i];
  }
  return sums;
}

}  // namespace

TEST_CASE("an all-reduce has the bits of a sum taken in rank order, on every rank") {
  for (std::int64_t const ranks : {1, 2, 3, 4})
    for (std::size_t const n : {std::size_t{0}, std::size_t{1}, std::size_t{4096},
                                std::size_t{4097}, std::size_t{30000}}) {
      auto const expected = sums_in_rank_order<float>(n, ranks);
      on_both_paths(ranks, [&](auto& comm) {
        auto values = noise<float>(n, comm.rank());
        all_reduce(comm, everyone(comm), std::span<float>(values));
        if (values != expected) throw std::runtime_error("other bits");
      });
    }
}

TEST_CASE("the order matters to the values of these tests") {
  auto const a = noise<float>(1000, 0), b = noise<float>(1000, 1), c = noise<float>(1000, 2);
  int other = 0;
  for (std::size_t i = 0; i < 1000; ++i) other += (a[i] + b[i]) + c[i] != a[i] + (b[i] + c[i]);
  CHECK(other > 100);
}

TEST_CASE("a reduce-scatter and an all-gather give the bits of an all-reduce") {
  for (std::int64_t const ranks : {1, 2, 3, 4})
    for (std::size_t const block : {std::size_t{5}, std::size_t{3000}}) {
      auto const whole = block * static_cast<std::size_t>(ranks);
      on_both_paths(ranks, [&](auto& comm) {
        auto values = noise<float>(whole, comm.rank());
        std::vector<float> mine(block), joined(whole);
        reduce_scatter(comm, everyone(comm), constant(values), std::span<float>(mine));
        comm.all_gather(everyone(comm), constant(mine), std::span<float>(joined));
        all_reduce(comm, everyone(comm), std::span<float>(values));
        if (values != joined) throw std::runtime_error("other bits");
      });
    }
}

TEST_CASE("a NaN on any rank survives the search for the largest value") {
  for (std::int64_t nan_at = 0; nan_at < 3; ++nan_at)
    for (std::size_t const n : {std::size_t{1}, std::size_t{9000}})
      on_both_paths(3, [&](auto& comm) {
        std::vector<double> values(n, static_cast<double>(comm.rank()));
        if (comm.rank() == nan_at) values.front() = std::numeric_limits<double>::quiet_NaN();
        all_reduce(comm, everyone(comm), std::span<double>(values), Op::max);
        if (!std::isnan(values.front()) || (n > 1 && values.back() != 2))
          throw std::runtime_error("not the largest");
      });
}

TEST_CASE("short floats are summed in float and rounded once") {
  on_both_paths(3, [](auto& comm) {
    // 256 + 1 is 256 in bf16, and so is that + 1; in float the sum is 258.
    std::vector<bf16> values{to_bf16(comm.rank() == 0 ? 256.0f : 1.0f)};
    all_reduce(comm, everyone(comm), std::span<bf16>(values));
    if (to_float(values[0]) != 258.0f) throw std::runtime_error("rounded on the way");
  });
}

TEST_CASE("a rank with no peers reduces to what it has") {
  Single comm;
  std::vector<float> values{1, 2, 3}, out(3);
  all_reduce(comm, everyone(comm), std::span<float>(values));
  reduce_scatter(comm, everyone(comm), constant(values), std::span<float>(out));
  CHECK(values == std::vector<float>{1, 2, 3});
  CHECK(out == values);
  std::vector<float> short_of_one(2);
  CHECK_THROWS_AS(
      reduce_scatter(comm, everyone(comm), constant(values), std::span<float>(short_of_one)),
      Error);
}

TEST_CASE("exchanges take no memory from the system after the first") {
  auto const first = detail::exchange_space<float>(1000).data();
  CHECK(detail::exchange_space<float>(10).data() == first);
  CHECK(detail::exchange_space<float>(1000).data() == first);
}
