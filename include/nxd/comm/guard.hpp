// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <concepts>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <thread>

#include <signal.h>

#include <nxd/comm/mpi.hpp>
#include <nxd/core/whereabouts.hpp>

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

namespace detail {

inline int rank_of_process = 0;

/// When a job ends because one of its ranks did, the launcher stops the others: each says where it
/// was.
inline void tell_when_stopped() {
  MPI_Comm_rank(MPI_COMM_WORLD, &rank_of_process);
  this_process();  // made before a handler asks for it
  struct sigaction action {};
  action.sa_handler = [](int signal) {
    auto const write_text = [](char const* text) {
      [[maybe_unused]] auto const written = ::write(2, text, std::strlen(text));
    };
    if (*this_process().text() != 0) {
      char number[16] = {};
      std::to_chars(number, number + sizeof number - 1, rank_of_process);
      write_text("nxd: rank "), write_text(number), write_text(" was stopped at ");
      write_text(this_process().text()), write_text("\n");
    }
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  };
  sigaction(SIGTERM, &action, nullptr);
}

}  // namespace detail

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
      detail::tell_when_stopped();
    }
    return Mpi{};
  }

 private:
  int& argc_;
  char**& argv_;
  std::optional<MpiSession> session_;
};

/// Runs `program(Mpi)` under MPI, or `program(MpiStart&)`, which begins MPI itself if it has to.
/// What it throws ends the whole job at once, with one line that names the rank, and with the exit
/// code of the error: no other rank waits for one that is gone. What it returns all ranks must
/// return, since they leave MPI together.
template <class Program> int guard_main(int argc, char** argv, Program const& program) {
  MpiStart start(argc, argv);
  auto const fail = [&start](ExitCode code, char const* what) {
    int rank = 0, size = 1;
    if (start.begun()) {
      MPI_Comm_rank(MPI_COMM_WORLD, &rank);
      MPI_Comm_size(MPI_COMM_WORLD, &size);
    }
    // What all ranks find wrong, one of them tells: its abort ends the others while they wait.
    if (rank > 0) std::this_thread::sleep_for(std::chrono::milliseconds(500));
    if (rank > 0)
      std::fprintf(stderr, "nxd: rank %d: %s\n", rank, what);
    else
      std::fprintf(stderr, "nxd: %s\n", what);
    std::fflush(nullptr);
    if (size > 1) MPI_Abort(MPI_COMM_WORLD, static_cast<int>(code));
    return static_cast<int>(code);
  };
  try {
    if (start.launched()) start();
    if constexpr (std::invocable<Program const&, Mpi>)
      return program(start());
    else
      return program(start);
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
