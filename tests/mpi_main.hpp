// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdio>
#include <iostream>
#include <sstream>
#include <string>

#define DOCTEST_CONFIG_IMPLEMENT
#define DOCTEST_CONFIG_NO_POSIX_SIGNALS  // mpirun ends the other ranks of an aborted job by SIGTERM
#include <doctest/doctest.h>

#include <nxd/comm/guard.hpp>

// A doctest program whose every rank runs all cases in the same order. A failed CHECK lets all
// ranks go on, and the worst of them decides the exit status. A failed REQUIRE, or an exception out
// of a case, would leave the others waiting: it ends the job. What rank 0 prints is shown, and what
// ranks with failures print. The program's file ends with
//
//   int main(int argc, char** argv) { return nxd::test::run_under_mpi(argc, argv); }

namespace nxd::test {

/// All ranks of this job. For use inside test cases.
inline Mpi& world() {
  static Mpi mpi;
  return mpi;
}

/// Ends the job where a rank cannot go on with its case.
struct AbortOnRequire : doctest::IReporter {
  explicit AbortOnRequire(doctest::ContextOptions const& options) : options_(options) {}

  void log_assert(doctest::AssertData const& data) override {
    if (!data.m_failed || (data.m_at & doctest::assertType::is_require) == 0) return;
    std::ostringstream text;
    text << data.m_file << ":" << data.m_line << ": " << doctest::assertString(data.m_at) << "( "
         << data.m_expr << " )";
    if (data.m_threw)
      text << " threw " << data.m_exception;
    else
      text << " is " << data.m_decomp;
    abort(text.str());
  }
  void test_case_exception(doctest::TestCaseException const& e) override {
    abort(std::string("an exception: ") + e.error_string.c_str());
  }
  void log_message(doctest::MessageData const& data) override {
    if ((data.m_severity & doctest::assertType::is_require) != 0)
      abort(std::string(data.m_file) + ":" + std::to_string(data.m_line) + ": " +
            data.m_string.c_str());
  }
  void test_case_start(doctest::TestCaseData const& data) override { name_ = data.m_name; }

  void report_query(doctest::QueryData const&) override {}
  void test_run_start() override {}
  void test_run_end(doctest::TestRunStats const&) override {}
  void test_case_reenter(doctest::TestCaseData const&) override {}
  void test_case_end(doctest::CurrentTestCaseStats const&) override {}
  void subcase_start(doctest::SubcaseSignature const&) override {}
  void subcase_end() override {}
  void test_case_skipped(doctest::TestCaseData const&) override {}

 private:
  void abort(std::string const& why) {
    if (options_.cout != nullptr) *options_.cout << std::flush;
    std::fprintf(stderr, "[rank %lld of %lld] \"%s\" cannot go on: %s\n",
                 static_cast<long long>(world().rank()), static_cast<long long>(world().size()),
                 name_, why.c_str());
    std::fflush(nullptr);
    MPI_Abort(MPI_COMM_WORLD, 1);
  }

  doctest::ContextOptions const& options_;
  char const* name_ = "";
};

DOCTEST_REGISTER_LISTENER("abort_on_require", 0, AbortOnRequire);

/// The output of a rank that does not tell the job's summary.
inline std::string without_summary(std::string const& output) {
  std::istringstream in(output);
  std::string kept, line;
  while (std::getline(in, line))
    if (line.rfind("[doctest]", 0) != 0) kept += line + "\n";
  return kept;
}

/// The `main` of such a program. The first rank with failures, or else rank 0, tells the summary.
inline int run_under_mpi(int argc, char** argv) {
  return guard_main(argc, argv, [&](Mpi const& mpi) {
    std::ostringstream output;
    doctest::Context context;
    context.setOption("no-colors", true);
    context.setOption("order-by", "file");
    context.applyCommandLine(argc, argv);
    context.setCout(&output);
    int const rank = static_cast<int>(mpi.rank()), size = static_cast<int>(mpi.size());
    int const mine = context.run();
    int const candidate = mine != 0 ? rank : size;
    int worst = mine, teller = candidate;
    MPI_Allreduce(&mine, &worst, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    MPI_Allreduce(&candidate, &teller, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
    teller %= size;
    for (int turn = 1; turn <= size; ++turn) {
      MPI_Barrier(MPI_COMM_WORLD);
      if (rank != (teller + turn) % size || (mine == 0 && rank != teller && rank != 0)) continue;
      if (mine != 0) std::cout << "[rank " << rank << " of " << size << "]\n";
      std::cout << (rank == teller ? output.str() : without_summary(output.str())) << std::flush;
    }
    MPI_Barrier(MPI_COMM_WORLD);
    return worst;
  });
}

}  // namespace nxd::test
