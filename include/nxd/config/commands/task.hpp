// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include <CLI/CLI.hpp>

#include <nxd/comm/communicator.hpp>

namespace nxd {

/// The ranks that do a command: those beside the first have nothing to do, or all work together.
enum class By : std::uint8_t { first_rank, every_rank };

/// How a command comes to the ranks of its job: `start()` is their communicator, and `launched()`
/// says whether there may be more than this one.
template <class S>
concept JobStart = requires(S start) {
  { start.launched() } -> std::same_as<bool>;
  { start() } -> Communicator;
};

/// What a command line asks for.
struct Task {
  By by = By::first_rank;
  std::function<void()> run;
  int status = 0;  ///< of the program, if `run` returns
};

/// Makes `run` the task of a command line that names this command. What `run` reads its options
/// from must live as long as `run`.
inline void on_command(CLI::App& command, Task& task, By by, std::function<void()> run) {
  command.callback([&task, by, run = std::move(run)] { task = {by, run, 0}; });
}

/// The spellings of an enumeration, with commas between them.
template <class E> std::string spellings() {
  std::string all;
  for (auto const name : names_of(E{})) all += (all.empty() ? "" : ", ") + std::string(name);
  return all;
}

}  // namespace nxd
