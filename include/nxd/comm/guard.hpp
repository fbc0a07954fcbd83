// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <concepts>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <thread>

#include <nxd/comm/mpi.hpp>
#include <nxd/core/fatal.hpp>
#include <nxd/core/interrupt.hpp>

namespace nxd {

/// Whether a launcher, such as mpirun or srun, started this process as a rank of a job.
inline bool launched() {
  return std::ranges::any_of(std::array{"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"},
                             [](char const* name) { return std::getenv(name) != nullptr; });
}

namespace detail {

/// A folder of its own for the session of a process that no launcher started, gone with this
/// object. Open MPI 4 gives such processes one in common, which the first that ends may take from
/// others.
class SessionFolder {
 public:
  SessionFolder() {
    if (launched()) return;
    char const* const named = std::getenv("OMPI_MCA_orte_tmpdir_base");
    std::error_code none;
    auto const base =
        named ? std::filesystem::path(named) : std::filesystem::temp_directory_path(none);
    auto made = (base / "nxd-mpi.XXXXXX").string();
    if (::mkdtemp(made.data()) == nullptr) return;  // MPI will say what is wrong with it
    path_ = made;
    ::setenv("OMPI_MCA_orte_tmpdir_base", made.c_str(), 1);
    ::setenv("OMPI_MCA_ess_singleton_isolated", "1", 0);
  }
  SessionFolder(SessionFolder const&) = delete;
  SessionFolder& operator=(SessionFolder const&) = delete;
  ~SessionFolder() {
    std::error_code none;
    if (!path_.empty()) std::filesystem::remove_all(path_, none);
  }

 private:
  std::filesystem::path path_;
};

}  // namespace detail

/// MPI from here to the end of its scope, at thread level `funneled`: a rank may have threads, but
/// the one that made the session makes all calls of MPI. One per program; see `guard_main`, which
/// keeps it from ending while other ranks wait.
/// @throws Error if this MPI does not offer the thread level
class MpiSession {
 public:
  MpiSession(int& argc, char**& argv)
      : environment_(argc, argv, boost::mpi::threading::funneled, true) {
    if (boost::mpi::environment::thread_level() < boost::mpi::threading::funneled)
      throw Error(ExitCode::internal,
                  "this MPI allows no threads beside it; use one built with "
                  "MPI_THREAD_FUNNELED or more");
  }

 private:
  detail::SessionFolder folder_;
  boost::mpi::environment environment_;
};

/// MPI that begins when it is first asked for: what one process can do alone needs none.
class MpiStart {
 public:
  MpiStart(int& argc, char**& argv) : argc_(argc), argv_(argv) {}

  /// Whether there are other processes that do the same.
  bool launched() const { return nxd::launched(); }
  bool begun() const { return session_.has_value(); }

  /// All ranks of the job. Every one of them makes the first call.
  Mpi operator()() {
    if (!begun()) {
      session_.emplace(argc_, argv_);
      int rank = 0;
      MPI_Comm_rank(MPI_COMM_WORLD, &rank);
      last_words().rank(rank);
      tell_fatal_ends();
    }
    return Mpi{};
  }

 private:
  int& argc_;
  char**& argv_;
  std::optional<MpiSession> session_;
};

namespace detail {

inline bool in_program = false;

/// A rank that calls `exit` ends the job as much as one that crashes: it says so.
inline void tell_exit() {
  in_program = true;
  static bool const once = [] {
    return std::atexit([] {
             if (!in_program) return;
             last_words().line("called exit");
             last_words().note(static_cast<int>(ExitCode::internal), "called exit");
           }) == 0;
  }();
  static_cast<void>(once);
}

}  // namespace detail

/// Runs `program(Mpi)` under MPI, or `program(MpiStart&)`, which begins MPI itself if it has to.
/// What it throws ends the whole job at once, with one line that names the rank, the step and what
/// it was doing, with an `exit.json` where there is a run's folder, and with the exit code of the
/// error: no other rank waits for one that is gone. What it returns all ranks must return, since
/// they leave MPI together; so must they all throw `Error(requeue)`, which ends a run in good
/// order.
template <class Program> int guard_main(int argc, char** argv, Program const& program) {
  MpiStart start(argc, argv);
  Interrupt::tell_on_sigterm();
  detail::tell_exit();
  auto const fail = [&start](ExitCode code, char const* what) {
    detail::in_program = false;
    int rank = 0, size = 1;
    if (start.begun()) {
      MPI_Comm_rank(MPI_COMM_WORLD, &rank);
      MPI_Comm_size(MPI_COMM_WORLD, &size);
    }
    bool const in_order = code == ExitCode::requeue;
    std::fflush(nullptr);
    // What all ranks find wrong, one of them tells: its abort ends the others while they wait. What
    // one has found, and said to all, is that one's to tell.
    int finder = rank;
    char colon = 0;
    bool const of_another =
        std::sscanf(what, "rank %d%c", &finder, &colon) == 2 && colon == ':' && finder != rank;
    if ((rank > 0 || of_another) && !in_order)
      std::this_thread::sleep_for(std::chrono::milliseconds(of_another ? 3000 : 500));
    if (!in_order) last_words().line(what);
    if (rank == 0 && in_order) std::fprintf(stderr, "nxd: %s\n", what);
    if (rank == 0 || !in_order) last_words().note(static_cast<int>(code), what);
    if (size > 1 && !in_order) MPI_Abort(MPI_COMM_WORLD, static_cast<int>(code));
    return static_cast<int>(code);
  };
  try {
    if (start.launched()) start();
    auto const status = [&] {
      if constexpr (std::invocable<Program const&, Mpi>)
        return program(start());
      else
        return program(start);
    }();
    detail::in_program = false;
    if (last_words().rank() == 0) last_words().note(status, status == 0 ? "done" : "");
    return status;
  } catch (Error const& e) {
    return fail(e.code, e.what());
  } catch (std::bad_alloc const&) {
    return fail(ExitCode::internal, "out of memory; use more ranks, or a smaller microbatch");
  } catch (std::exception const& e) {
    return fail(ExitCode::internal, e.what());
  } catch (...) {
    return fail(ExitCode::internal, "something was thrown that is not an exception");
  }
}

}  // namespace nxd
