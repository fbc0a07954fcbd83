// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <iostream>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include <nxd/config/commands/bench.hpp>
#include <nxd/config/commands/checkpoint.hpp>
#include <nxd/config/commands/generate.hpp>
#include <nxd/config/commands/plan.hpp>
#include <nxd/config/commands/schedule.hpp>
#include <nxd/config/commands/task.hpp>
#include <nxd/config/commands/train.hpp>
#include <nxd/config/commands/version.hpp>

namespace nxd {

namespace detail {

inline constexpr char const* exit_codes =
    "Exit codes: 0 done, 64 configuration, 65 corrupt input, 70 internal, 71 ranks disagree, "
    "72 hang, 73 not finite, 74 files, 75 saved and wants to go on.";

/// What is wrong with a command line, in one sentence.
inline std::string sentence(CLI::App const& app, CLI::ParseError const& e) {
  auto const chosen = app.get_subcommands();
  auto const rest = app.remaining();
  if (chosen.empty() && !rest.empty() && !rest.front().starts_with('-')) {
    std::vector<std::string> names;
    for (auto const* command : app.get_subcommands({})) names.push_back(command->get_name());
    auto const meant = nearest_path(rest.front(), names);
    return rest.front() + " is no command; " +
           (meant.empty() ? "nxd --help lists them" : "did you mean " + meant + "?");
  }
  auto const of = chosen.empty() ? std::string() : ' ' + chosen.front()->get_name();
  return std::string(e.what()) + "; see nxd" + of + " --help";
}

}  // namespace detail

/// Does what a command line says. All ranks have the same one. @return the exit code
/// `start` is called for what all ranks do together, or to know which of them is the first:
/// `MpiStart`.
/// @throws Error if it says nothing that can be done, or if doing it fails
template <JobStart S> int command(S& start, int argc, char const* const* argv) {
  CLI::App app{"Trains large language models over MPI ranks.", "nxd"};
  app.set_version_flag("--version", version_text());
  app.footer(detail::exit_codes);
  app.require_subcommand(0, 1);

  Task task{By::first_rank, [&app] { std::cout << app.help(); }, 0};
  add_train_command(app, task, start);
  add_generate_command(app, task);
  add_checkpoint_command(app, task);
  add_schedule_command(app, task);
  add_plan_command(app, task, start);
  add_bench_command(app, task);

  auto const leads = [&start] { return !start.launched() || start().rank() == 0; };
  try {
    app.parse(argc, argv);
  } catch (CLI::ParseError const& e) {
    if (e.get_exit_code() != 0) throw ConfigError(detail::sentence(app, e));
    if (leads()) app.exit(e);  // prints the help or the version that was asked for
    return 0;
  }
  if (task.by == By::first_rank && !leads()) return 0;
  use_product_table_of_environment();
  task.run();
  if (!std::cout.flush())
    throw IoError("standard output takes no more; what was printed is cut off");
  return task.status;
}

}  // namespace nxd
