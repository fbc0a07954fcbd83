// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <string_view>

#include <signal.h>

#include <nxd/core/error.hpp>
#include <nxd/core/last_words.hpp>

namespace nxd {

namespace detail {

struct FatalSignal {
  int signal;
  std::string_view words;
  struct sigaction before {};
};

inline std::array<FatalSignal, 5>& fatal_signals() {
  static std::array<FatalSignal, 5> all{{{SIGSEGV, "SIGSEGV: memory that is not there", {}},
                                         {SIGBUS, "SIGBUS: a file that was cut short", {}},
                                         {SIGFPE, "SIGFPE: a division by zero", {}},
                                         {SIGILL, "SIGILL: an instruction it does not know", {}},
                                         {SIGABRT, "SIGABRT: abort was called", {}}}};
  return all;
}

/// Says the last words, and leaves the rest to whoever handled the signal before.
inline void on_fatal_signal(int signal) {
  for (auto const& fatal : fatal_signals())
    if (fatal.signal == signal) {
      last_words().line(fatal.words);
      last_words().note(128 + signal, fatal.words);
      sigaction(signal, &fatal.before, nullptr);
    }
  ::raise(signal);  // comes when this handler returns
}

/// What escapes a thread or a `noexcept` function ends the process, and with it the job. Other
/// ranks' launcher sees the exit code.
[[noreturn]] inline void on_terminate() {
  auto code = ExitCode::internal;
  auto const end = [&](char const* what) {
    last_words().line(what);
    last_words().note(static_cast<int>(code), what);
    ::_exit(static_cast<int>(code));
  };
  if (auto const thrown = std::current_exception()) try {
      std::rethrow_exception(thrown);
    } catch (Error const& e) {
      code = e.code;
      end(e.what());
    } catch (std::exception const& e) {
      end(e.what());
    } catch (...) {
      end("something was thrown that is not an exception");
    }
  end("std::terminate was called");
  std::abort();
}

}  // namespace detail

/// From now on no end of this process is silent: signals that mean a mistake, and exceptions that
/// nobody catches, say where the rank was first. Called after MPI has begun, whose own handlers
/// come next.
inline void tell_fatal_ends() {
  this_process(), last_words();            // made before a handler asks for them
  static std::array<char, 1 << 16> stack;  // the one in use may be what is full
  stack_t other{};
  other.ss_sp = stack.data();
  other.ss_size = stack.size();
  sigaltstack(&other, nullptr);
  for (auto& fatal : detail::fatal_signals()) {
    struct sigaction action {};
    action.sa_handler = detail::on_fatal_signal;
    action.sa_flags = SA_ONSTACK;
    sigaction(fatal.signal, &action, &fatal.before);
  }
  std::set_terminate(detail::on_terminate);
}

}  // namespace nxd
