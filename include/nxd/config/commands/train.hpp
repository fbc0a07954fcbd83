// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <nxd/config/commands/supervise.hpp>
#include <nxd/config/commands/task.hpp>
#include <nxd/config/load.hpp>
#include <nxd/config/train_llama.hpp>

namespace nxd {

namespace detail {

struct TrainArguments {
  bool help_keys = false, allow_fresh_start = false;
  std::string file, trace, trace_steps;
  std::vector<std::string> overrides;
  std::int64_t ranks = 0, max_restarts = 0;
};

/// Starts the ranks, and starts them again. @return the exit code
inline int supervise_training(TrainArguments const& a) {
  auto const config = load_config_file(a.file, a.overrides).config;
  microbatches(config, a.ranks);  // whether it can run so shows now
  char const* const launcher = std::getenv("NXD_MPIRUN");
  Supervision s{a.ranks, a.max_restarts, launcher != nullptr ? launcher : "mpirun", {}};
  s.command = {"/proc/self/exe", "train", a.file};
  std::error_code none;
  if (auto const own = std::filesystem::read_symlink("/proc/self/exe", none); !none)
    s.command.front() = own.string();
  for (auto const& [option, value] :
       {std::pair{"--trace", a.trace}, {"--trace-steps", a.trace_steps}})
    if (!value.empty()) s.command.insert(s.command.end(), {option, value});
  s.command.insert(s.command.end(), a.overrides.begin(), a.overrides.end());
  return supervise(s, config, [](std::string const& line) { std::cerr << "nxd: " + line + "\n"; });
}

template <Communicator C> void train_from(C comm, TrainArguments const& a) {
  Logger const log(std::cout, comm.rank());
  if (a.help_keys) {
    if (comm.rank() == 0) std::cout << help_keys();
    return;
  }
  if (a.file.empty()) throw ConfigError("nxd train wants a configuration: nxd train CONFIG.yaml");
  auto overrides = a.overrides;
  if (a.allow_fresh_start) overrides.emplace_back("exp_manager.allow_fresh_start=true");
  auto const loaded = load_config_file(a.file, overrides);
  if (auto const line = ignored_line(loaded.ignored); !line.empty()) log.info(line);
  std::optional<TraceRequest> tracing;
  if (!a.trace.empty()) {
    tracing = TraceRequest{a.trace};
    if (!a.trace_steps.empty()) tracing->steps = parse_window(a.trace_steps);
  }
  if (auto const saved = train_llama(comm, loaded.config, std::cout, tracing))
    log.info("checkpoint " + *saved);
}

}  // namespace detail

/// `nxd train CONFIG [key.path=value ...]`
template <JobStart S> void add_train_command(CLI::App& app, Task& task, S& start) {
  auto const a = std::make_shared<detail::TrainArguments>();
  auto* const train = app.add_subcommand(
      "train", "Trains what a configuration describes; start it with mpirun or srun");
  train->add_flag("--help-keys", a->help_keys,
                  "List the keys of a configuration, and what they mean");
  train->add_flag("--allow-fresh-start", a->allow_fresh_start,
                  "Begin anew where there are checkpoints and none can be loaded");
  train->add_option("CONFIG", a->file, "YAML file");
  train->add_option("overrides", a->overrides, "key.path=value, instead of what the file says");
  auto* const trace = train->add_option(
      "--trace", a->trace,
      "Write what each rank does, and when, to DIR/rank-00000.json and so on, for Perfetto");
  trace->type_name("DIR");
  train
      ->add_option("--trace-steps", a->trace_steps,
                   "The steps to trace, such as 10:14; if not given, the first 5 that the run does")
      ->type_name("FIRST:LAST")
      ->needs(trace);
  auto* const ranks = train->add_option(
      "--ranks", a->ranks, "Start so many ranks by mpirun, instead of being started by it");
  ranks->type_name("N")->check(CLI::PositiveNumber);
  train
      ->add_option("--max-restarts", a->max_restarts,
                   "And start them again after a crash, at most so often, with the ranks that are "
                   "left")
      ->type_name("N")
      ->check(CLI::NonNegativeNumber)
      ->needs(ranks);
  on_command(*train, task, By::every_rank, [a, &start, &task] {
    if (a->ranks == 0) return detail::train_from(start(), *a);
    if (start.launched())
      throw ConfigError("--ranks starts the ranks by itself; leave out mpirun, or --ranks");
    if (a->file.empty())
      throw ConfigError("nxd train wants a configuration: nxd train CONFIG.yaml");
    task.status = detail::supervise_training(*a);
  });
}

}  // namespace nxd
