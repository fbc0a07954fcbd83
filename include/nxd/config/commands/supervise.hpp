// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <fstream>
#include <functional>
#include <iterator>
#include <ostream>
#include <string>
#include <vector>

#include <nxd/core/error.hpp>
#include <nxd/core/interrupt.hpp>
#include <nxd/train/config_rules.hpp>

namespace nxd {

/// How a supervisor starts ranks, and how often.
struct Supervision {
  std::int64_t ranks = 1;
  std::int64_t max_restarts = 0;
  std::string launcher = "mpirun";   ///< called as `launcher -np N COMMAND...`
  std::vector<std::string> command;  ///< of each rank
};

/// The most ranks, but no more than `most`, on which a configuration runs; 0 if there are none.
inline std::int64_t most_legal_ranks(TrainingConfig const& config, std::int64_t most) {
  for (auto n = most; n > 0; --n) try {
      microbatches(config, n);
      return n;
    } catch (ConfigError const&) {
    }
  return 0;
}

namespace detail {

/// Why a run has ended, by its `exit.json`.
inline std::string exit_text(std::string const& folder) {
  std::ifstream file(folder + "/exit.json");
  return {std::istreambuf_iterator<char>(file), {}};
}

/// Whether a process of this machine has children that have not ended.
inline bool has_living_children(pid_t parent) {
  auto const of = std::to_string(parent);
  std::ifstream children("/proc/" + of + "/task/" + of + "/children");
  for (std::string child; children >> child;) {
    std::ifstream file("/proc/" + child + "/stat");
    std::string const stat{std::istreambuf_iterator<char>(file), {}};
    auto const name_end = stat.rfind(')');
    if (name_end + 2 < stat.size() && stat[name_end + 2] != 'Z') return true;
  }
  return false;
}

/// Ends a launcher whose ranks are all gone and that waits for itself, as mpirun of Open MPI 4.1
/// sometimes does when a signal has ended them early.
class LeftAlone {
 public:
  explicit LeftAlone(pid_t launcher) : launcher_(launcher) {}

  /// To be called again and again.
  void look() {
    auto const now = std::chrono::steady_clock::now();
    if (now < next_) return;
    next_ = now + std::chrono::seconds(1);
    if (has_living_children(launcher_)) {
      had_ranks_ = true;
      last_ = now;
    } else if (had_ranks_ && now - last_ > patience) {
      ::kill(launcher_, SIGKILL);
    }
  }

 private:
  static constexpr std::chrono::seconds patience{5};

  pid_t launcher_;
  bool had_ranks_ = false;
  std::chrono::steady_clock::time_point next_{}, last_{};
};

/// Starts the ranks and waits for their end. A signal that asks to end comes to them as SIGUSR1.
/// @return the exit code, or 128 and the signal
inline int run_ranks(Supervision const& s, std::int64_t ranks) {
  std::vector<std::string> words{s.launcher, "-np", std::to_string(ranks)};
  words.insert(words.end(), s.command.begin(), s.command.end());
  std::vector<char*> arguments;
  for (auto& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  auto const child = ::fork();
  if (child < 0) throw IoError("no process can be made for " + s.launcher);
  if (child == 0) {
    ::execvp(arguments[0], arguments.data());
    ::_exit(127);
  }
  bool told = false;
  LeftAlone left_alone(child);
  for (int status = 0;;) {
    if (Interrupt::signal() != 0 && !told) told = ::kill(child, SIGUSR1) == 0;
    auto const ended = ::waitpid(child, &status, WNOHANG);
    if (ended == child) return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    if (ended < 0 && errno != EINTR) throw IoError(s.launcher + " cannot be waited for");
    left_alone.look();
    ::usleep(20000);
  }
}

/// An end after which the same would come again, or that was asked for.
inline bool is_final(int code) {
  for (auto const last : {ExitCode::done, ExitCode::config, ExitCode::corrupt, ExitCode::non_finite,
                          ExitCode::requeue})
    if (code == static_cast<int>(last)) return true;
  return code == 127;
}

}  // namespace detail

/// Runs a configuration on several ranks, and after a crash, a hang, or ranks that disagree again
/// from the newest checkpoint that is whole: where a rank is gone, with the ranks that are left, or
/// as many of them as the configuration can use; samples and batches stay what they were. `say`
/// tells of it. @return the exit code of the last start
inline int supervise(Supervision s, TrainingConfig const& config,
                     std::function<void(std::string const&)> const& say) {
  Interrupt::Noted const noted;
  s.command.push_back("exp_manager.resume_if_exists=true");
  auto ranks = s.ranks;
  for (std::int64_t restarts = 0;; ++restarts) {
    auto const code = detail::run_ranks(s, ranks);
    if (code == 127) throw IoError(s.launcher + " cannot be started; is it on the PATH?");
    if (detail::is_final(code) || Interrupt::signal() != 0 || restarts == s.max_restarts)
      return code;
    bool const gone =
        detail::exit_text(run_folder(config)).find(" is gone") != std::string::npos || code > 128;
    auto const left = most_legal_ranks(config, gone ? ranks - 1 : ranks);
    if (left == 0) {
      say("the run ended with " + std::to_string(code) + ", and too few ranks are left to go on");
      return code;
    }
    say("the run ended with " + std::to_string(code) + "; restart " + std::to_string(restarts + 1) +
        " of " + std::to_string(s.max_restarts) + " with " + std::to_string(left) + " of " +
        std::to_string(s.ranks) + " ranks, from the newest checkpoint");
    ranks = left;
  }
}

}  // namespace nxd
