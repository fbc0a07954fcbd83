// SPDX-License-Identifier: Apache-2.0
#include <chrono>

#include <doctest/doctest.h>

#include <nxd/comm/threads.hpp>

#include "exchanges.hpp"

using namespace nxd;
using namespace nxd::test;

namespace {

/// The sentence and the code that a job ends with.
std::pair<std::string, ExitCode> failure(std::int64_t ranks, auto const& program) {
  try {
    Threads::run(ranks, program);
  } catch (Error const& e) {
    return {e.what(), e.code};
  }
  return {"", ExitCode::done};
}

/// Unequal haste, so that ranks meet in many orders.
void dawdle(std::int64_t rank, int turn) {
  if ((rank + turn) % 3 == 0) std::this_thread::sleep_for(std::chrono::microseconds(50));
}

}  // namespace

TEST_CASE("sums straight from the peers' memory have the bits of sums by exchange") {
  for (std::int64_t const ranks : {1, 2, 3, 4}) {
    std::vector<std::uint64_t> own(static_cast<std::size_t>(ranks)), plain(own);
    Threads::run(ranks, [&](Threads::Rank c) {
      own[static_cast<std::size_t>(c.rank())] = digest_of_exchanges(c);
    });
    Threads::run(ranks, [&](Threads::Rank c) {
      plain[static_cast<std::size_t>(c.rank())] = digest_of_exchanges(Plain<Threads::Rank>{c});
    });
    CHECK(own == plain);
  }
}

TEST_CASE("blocks come in the order of the ranks") {
  Threads::run(3, [](Threads::Rank comm) {
    auto const r = static_cast<int>(comm.rank());
    std::vector<int> const in{10 * r, 10 * r + 1, 10 * r + 2};
    std::vector<int> traded(3), all(9), told{r};
    comm.all_to_all(everyone(comm), constant(in), std::span<int>(traded));
    comm.all_gather(everyone(comm), constant(in), std::span<int>(all));
    comm.broadcast(everyone(comm), 2, std::span<int>(told));
    if (traded != std::vector<int>{r, 10 + r, 20 + r} || told != std::vector<int>{2} ||
        all != std::vector<int>{0, 1, 2, 10, 11, 12, 20, 21, 22})
      throw std::runtime_error("other order");
  });
}

TEST_CASE("only the members of a line meet: another line may make any number of calls meanwhile") {
  Threads::run(4, [](Threads::Rank comm) {
    auto const r = comm.rank();
    Line const pair{r / 2 * 2, 1, 2, r % 2};
    for (int turn = 0; turn < (r < 2 ? 3 : 200); ++turn) {
      dawdle(r, turn);
      std::vector<float> values{static_cast<float>(r)};
      all_reduce(comm, pair, std::span<float>(values));
      if (values[0] != (r < 2 ? 1.0f : 5.0f)) throw std::runtime_error("not the sum of the pair");
    }
    comm.barrier();
  });
}

TEST_CASE("messages of one tag come in the order in which they were sent, whatever other tags do") {
  Threads::run(3, [](Threads::Rank comm) {
    auto const next = (comm.rank() + 1) % 3, last = (comm.rank() + 2) % 3;
    for (int i = 0; i < 20; ++i) comm.send(next, i % 2, std::span<int const>(&i, 1));
    for (int const tag : {1, 0})
      for (int i = tag; i < 20; i += 2) {
        int got = -1;
        comm.receive(last, tag, std::span<int>(&got, 1));
        if (got != i) throw std::runtime_error("out of order");
      }
  });
}

TEST_CASE("ranks that call different things are told so, and nobody's memory is touched") {
  auto const program = [](Threads::Rank comm) {
    std::vector<float> in(comm.rank() == 2 ? 6 : 3), out(9, -1);
    if (comm.rank() == 2)
      comm.all_to_all(everyone(comm), constant(in), std::span<float>(in));
    else
      comm.all_gather(everyone(comm), constant(in), std::span<float>(out));
  };
  auto const [sentence, code] = failure(3, program);
  CHECK(code == ExitCode::desync);
  CHECK(sentence.find("rank 2") != std::string::npos);
  CHECK(sentence.find("all_gather of 12 bytes of F32") != std::string::npos);
  CHECK(sentence.find("all_to_all of 24 bytes of F32") != std::string::npos);
}

TEST_CASE("the same bytes taken for other types, roots or operators are a mistake too") {
  auto const types = [](Threads::Rank comm) {
    if (comm.rank() == 0) {
      float f[2] = {};
      all_reduce(comm, everyone(comm), std::span<float>(f));
    } else {
      double d[1] = {};
      all_reduce(comm, everyone(comm), std::span<double>(d));
    }
  };
  auto const roots = [](Threads::Rank comm) {
    float f = 0;
    comm.broadcast(everyone(comm), comm.rank(), std::span<float>(&f, 1));
  };
  auto const operators = [](Threads::Rank comm) {
    float f = 0;
    all_reduce(comm, everyone(comm), std::span<float>(&f, 1), comm.rank() == 0 ? Op::sum : Op::max);
  };
  CHECK(failure(2, types).second == ExitCode::desync);
  CHECK(failure(2, roots).second == ExitCode::desync);
  CHECK(failure(2, operators).second == ExitCode::desync);
}

TEST_CASE("a message of another length is a mistake that names both ranks") {
  auto const [sentence, code] = failure(2, [](Threads::Rank comm) {
    float two[2] = {};
    if (comm.rank() == 0)
      comm.send(1, 7, std::span<float const>(two, 1));
    else
      comm.receive(0, 7, std::span<float>(two, 2));
  });
  CHECK(code == ExitCode::desync);
  CHECK(
      sentence ==
      "rank 1 waits for a message of 8 bytes of F32, but rank 0 sent a message of 4 bytes of F32");
}

TEST_CASE(
    "a rank that fails releases the others from wherever they wait, and its failure is told") {
  for (int turn = 0; turn < 30; ++turn) {
    auto const [sentence, code] = failure(4, [&](Threads::Rank comm) {
      float value = 0;
      std::vector<float> mine(5000);
      for (int i = 0; i < turn; ++i) all_reduce(comm, everyone(comm), std::span<float>(mine));
      dawdle(comm.rank(), turn);
      if (comm.rank() == 0) throw Error(ExitCode::io, "disk full");
      if (comm.rank() == 1) comm.receive(0, 0, std::span<float>(&value, 1));
      if (comm.rank() == 2) comm.barrier();
      all_reduce(comm, {2, 1, 2, comm.rank() - 2}, std::span<float>(mine));
      comm.barrier();
    });
    CHECK(code == ExitCode::io);
    CHECK(sentence == "disk full");
  }
}

TEST_CASE("whatever a rank throws comes out") {
  CHECK_THROWS_AS(Threads::run(2,
                               [](Threads::Rank comm) {
                                 if (comm.rank() == 1) throw 5;
                                 comm.barrier();
                               }),
                  int);
}
