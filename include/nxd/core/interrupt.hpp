// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <csignal>
#include <string>

#include <signal.h>

#include <nxd/core/error.hpp>
#include <nxd/core/last_words.hpp>

namespace nxd {

/// Whether somebody wants this process to end, by SIGTERM or SIGUSR1, as launchers and schedulers
/// send them. A handler sets a flag and no more; whoever works long asks for it, and what ranks do
/// about it they agree on.
class Interrupt {
 public:
  /// The signal that came last, or 0.
  static int signal() { return flag().load(std::memory_order_relaxed); }
  static std::string name(int signal) { return signal == SIGUSR1 ? "SIGUSR1" : "SIGTERM"; }

  /// For loops in which there is nothing to save yet. @throws Error(requeue) if a signal has come
  static void poll() {
    if (signal() != 0) end_before_steps(signal());
  }
  [[noreturn]] static void end_before_steps(int signal) {
    throw Error(ExitCode::requeue,
                name(signal) + " came before the first step; start the run again");
  }

  /// While it lives, the two signals are noted and do not end the process. Once one has come, later
  /// ones do not either: the process ends by itself, with its code, and launchers that see one rank
  /// end send SIGTERM to the others.
  class Noted {
   public:
    Noted() {
      asked().store(true);
      struct sigaction action {};
      action.sa_handler = [](int s) { flag().store(s, std::memory_order_relaxed); };
      action.sa_flags = SA_RESTART;
      sigaction(SIGUSR1, &action, &before_);
    }
    Noted(Noted const&) = delete;
    Noted& operator=(Noted const&) = delete;
    ~Noted() {
      if (Interrupt::signal() != 0) return;
      asked().store(false);
      sigaction(SIGUSR1, &before_, nullptr);
    }

   private:
    struct sigaction before_ {};
  };

  /// What SIGTERM does from now on: it says where the rank is, and ends the process unless the
  /// signal is noted.
  static void tell_on_sigterm() {
    this_process(), last_words();  // made before a handler asks for them
    struct sigaction action {};
    action.sa_handler = [](int s) {
      if (this_process().step() >= 0) last_words().line("was told to end");
      if (auto* const also = on_sigterm().load()) also();
      if (asked().load()) return flag().store(s, std::memory_order_relaxed);
      std::signal(s, SIG_DFL);
      std::raise(s);
    };
    action.sa_flags = SA_RESTART;
    sigaction(SIGTERM, &action, nullptr);
  }

  /// Called by the handler of SIGTERM too, if it is set: async-safe.
  static std::atomic<void (*)()>& on_sigterm() {
    static std::atomic<void (*)()> also{nullptr};
    return also;
  }

 private:
  static std::atomic<int>& flag() {
    static std::atomic<int> value{0};
    return value;
  }
  static std::atomic<bool>& asked() {
    static std::atomic<bool> value{false};
    return value;
  }
};

}  // namespace nxd
