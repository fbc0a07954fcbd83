// SPDX-License-Identifier: Apache-2.0
#pragma once

#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdlib>
#include <iostream>
#include <sstream>

#include <nxd/comm/mpi.hpp>

// Every rank runs all cases in order. The first rank reports, and so does each rank that fails. The
// status is the worst of all ranks: a case that passes on one of them alone has not passed. A rank that
// leaves a case early would leave the others waiting, so the launcher has a time limit.

namespace nxd::test {

/// The ranks of the job that this test runs on.
inline Mpi*& world() {
  static Mpi* all = nullptr;
  return all;
}

}  // namespace nxd::test

int main(int argc, char** argv) {
  return nxd::guard_main(argc, argv, [&](nxd::Mpi comm) {
    nxd::test::world() = &comm;
    std::ostringstream report;
    doctest::Context context(argc, argv);
    context.setOption("no-colors", true);
    context.setCout(&report);
    std::vector<int> const mine{context.run()};
    std::vector<int> all(static_cast<std::size_t>(comm.size()));
    comm.all_gather({0, 1, comm.size(), comm.rank()}, std::span<int const>(mine),
                    std::span<int>(all));
    for (std::int64_t rank = 0; rank < comm.size(); ++rank) {
      comm.barrier();
      if (rank == comm.rank() && (rank == 0 || mine[0] != 0))
        std::cout << "rank " << rank << " of " << comm.size() << "\n" << report.str() << std::flush;
    }
    return *std::max_element(all.begin(), all.end());
  });
}
