// SPDX-License-Identifier: Apache-2.0
// A plan, its mesh, and ranks that are threads: the standard library is enough.
#include <array>
#include <cstdio>
#include <mutex>

#include <nxd/comm/threads.hpp>
#include <nxd/dist/mesh.hpp>

using namespace nxd;

struct Job : Plan<Let<DP, 2>, Let<TP, 2>> {};

static_assert(ranks(Job{}) == 4);

int main() {
  std::mutex one_at_a_time;
  std::int64_t met = 0;
  Threads::run(ranks(Job{}), [&](auto rank) {
    std::array<std::int64_t, 1> const mine{rank.rank()};
    std::array<std::int64_t, 2> pair{};
    rank.template all_gather<std::int64_t>(line<TP>(Job{}, rank.rank()), mine, pair);
    std::lock_guard const lock(one_at_a_time);
    met += pair[0] + pair[1];
  });
  std::printf("ranks that met along TP sum to %d\n", static_cast<int>(met));
  return met == 12 ? 0 : 1;
}
