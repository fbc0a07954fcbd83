// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <nxd/config/commands/task.hpp>
#include <nxd/config/load.hpp>
#include <nxd/config/train_llama.hpp>

namespace nxd {

namespace detail {

struct TrainArguments {
  bool help_keys = false, allow_fresh_start = false;
  std::string file, trace, trace_steps;
  std::vector<std::string> overrides;
};

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
  on_command(*train, task, By::every_rank, [a, &start] { detail::train_from(start(), *a); });
}

}  // namespace nxd
