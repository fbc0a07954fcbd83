// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <nxd/config/check_llama.hpp>
#include <nxd/config/commands/plan_search.hpp>
#include <nxd/config/commands/task.hpp>
#include <nxd/config/load.hpp>
#include <nxd/config/plan_llama.hpp>
#include <nxd/config/trace_llama.hpp>
#include <nxd/core/file_text.hpp>
#include <nxd/core/spelling.hpp>
#include <nxd/plan/calibrate.hpp>
#include <nxd/plan/compare.hpp>
#include <nxd/plan/machine_text.hpp>
#include <nxd/plan/plan_trace.hpp>
#include <nxd/plan/report.hpp>

namespace nxd {

namespace detail {

struct PlanArguments {
  std::string file, format = "text", machine;
  std::vector<std::string> overrides;
  std::int64_t ranks = 0, rank = -1;
  std::uint64_t memory = std::uint64_t{1} << 62;
  bool check = false, search = false;
  std::string calibrate;           ///< the file to write
  std::string precision = "fp32";  ///< of the products that are measured for it
  std::string compare;             ///< the folder of the traces
};

inline PrecisionType precision_of(std::string const& spelled) {
  auto const names = names_of(PrecisionType{});
  return static_cast<PrecisionType>(std::ranges::find(names, spelled) - names.begin());
}

/// Measures the machine with all ranks of the job, and writes what a plan needs to know of it.
template <Communicator C>
void calibrate_to(C comm, std::string const& file, PrecisionType precision) {
  set_products(precision);
  auto const cores = static_cast<std::int64_t>(std::thread::hardware_concurrency());
  PrecisionConfig of_products;
  of_products.type = precision;
  auto const machine = is_bf16(of_products) ? calibrate<XtBf16>(comm, cores, thread_count())
                                            : calibrate<Xt>(comm, cores, thread_count());
  if (comm.rank() != 0) return;
  std::ofstream out(file);
  if (!(out << to_text(machine)).flush()) throw IoError(file + ": cannot be written");
  std::cout << machine.source << "; a rank reaches " << formatted("%.1f", machine.peak_flops / 1e9)
            << " GFLOP/s; written to " << file << "\n";
}

inline Machine machine_of(PlanArguments const& a) {
  return a.machine.empty() ? Machine{}
                           : parse_machine(read_file_text(a.machine, 1 << 20), a.machine);
}

inline constexpr std::int64_t most_planned_ranks = std::int64_t{1} << 24;

/// The ranks that are asked for; if none are, those of one replica.
/// @throws ConfigError if a replica has more than can be planned
inline std::int64_t ranks_of(PlanArguments const& a, TrainingConfig const& config) {
  auto const& d = config.distributed_strategy;
  auto const tp = d.tensor_model_parallel_size, pp = d.pipeline_model_parallel_size;
  if (tp > most_planned_ranks / pp)
    throw ConfigError(
        "distributed_strategy.tensor_model_parallel_size times pipeline_model_parallel_size "
        "is more than " +
        std::to_string(most_planned_ranks) + " ranks; lower them");
  return a.ranks > 0 ? a.ranks : tp * pp;
}

inline std::string title_of(TrainingConfig const& config, std::int64_t ranks) {
  return config.name + " on " + layout_words(config, ranks);
}

/// Whether the rule that a sentence tells is among those told already.
inline bool is_told(std::vector<std::string> const& sentences, std::string_view sentence) {
  if (auto const subject = sentence.find(": "); subject != sentence.npos)
    sentence.remove_prefix(subject + 2);
  auto const rule = sentence.substr(0, sentence.find(';'));
  return std::ranges::any_of(sentences,
                             [&](std::string const& s) { return s.find(rule) != s.npos; });
}

/// @throws ConfigError with all rules that the configuration breaks, a line each
inline void check_plan(PlanArguments const& a) {
  auto const loaded = load_config_file(a.file, a.overrides, Broken::collect);
  auto const ranks = ranks_of(a, loaded.config);
  auto broken = loaded.broken;
  for (auto& sentence : broken_rules(loaded.config, ByteTokenizer::vocabulary(), ranks))
    if (!is_told(broken, sentence)) broken.push_back(std::move(sentence));
  if (broken.empty()) {
    std::cout << "legal: " << title_of(loaded.config, ranks) << "\n";
    return;
  }
  std::string all;
  for (auto const& sentence : broken) all += (all.empty() ? "" : "\n") + sentence;
  throw ConfigError(all);
}

inline void print_search(PlanArguments const& a, TrainingConfig const& config,
                         LlamaConfig const& model) {
  if (a.format == "trace")
    throw ConfigError("--search prints text or json; --format trace is of one plan");
  auto const machine = machine_of(a);
  auto const ranks = ranks_of(a, config);
  auto const most = static_cast<std::int64_t>(std::min(a.memory, std::uint64_t{1} << 62));
  auto all = enumerate_layouts(config, model, ranks, most, machine);
  auto const best = search_layouts(all, model, ranks, most, machine);
  std::cout << (a.format == "json" ? search_json : search_text)(all, best, ranks, machine);
  if (best.empty())
    throw ConfigError("no layout of " + counted(ranks, "rank", "ranks") +
                      " is legal and fits; give another "
                      "number of ranks, or more --memory");
}

/// The plan beside the run that left its traces in `a.compare`.
inline std::string compared(PlanArguments const& a, StepPlan const& plan, Machine const& machine,
                            TraceFacts const& facts, std::string const& title) {
  if (a.format == "trace")
    throw ConfigError("--compare prints text or json; --format trace is of the plan alone");
  Comparison comparison(plan, machine, facts);
  for (std::int64_t rank = 0; rank < plan.ranks; ++rank)
    comparison.add(read_trace(a.compare, rank), trace_file(a.compare, rank));
  return a.format == "json" ? compare_json(plan, comparison, machine)
                            : compare_text(plan, comparison, machine, title);
}

inline void print_plan(PlanArguments const& a) {
  if (a.file.empty()) throw ConfigError("nxd plan wants a configuration: nxd plan CONFIG.yaml");
  if (a.check) return check_plan(a);
  auto const config = load_config_file(a.file, a.overrides).config;
  auto const model = llama_config(config, ByteTokenizer::vocabulary());
  if (a.search) return print_search(a, config, model);
  auto const ranks = ranks_of(a, config);
  auto const machine = machine_of(a);
  if (a.rank >= ranks)
    throw ConfigError("--rank is " + std::to_string(a.rank) + ", but the ranks are 0 to " +
                      std::to_string(ranks - 1));
  if (a.rank >= 0) {
    std::cout << to_text(rank_json(plan_rank(config, model, ranks, a.rank, machine))) << "\n";
    return;
  }
  auto const plan = plan_step(config, model, ranks, machine);
  auto const facts = trace_facts(config, model, ranks);
  if (!a.compare.empty())
    std::cout << compared(a, plan, machine, facts, title_of(config, ranks));
  else if (a.format == "trace")
    std::cout << plan_trace(plan, facts);
  else if (a.format == "json")
    std::cout << plan_json(plan, machine);
  else
    std::cout << plan_text(plan, machine, title_of(config, ranks));
}

}  // namespace detail

/// `nxd plan CONFIG [key.path=value ...] [--ranks N]`
template <JobStart S> void add_plan_command(CLI::App& app, Task& task, S& start) {
  auto const a = std::make_shared<detail::PlanArguments>();
  auto* const plan = app.add_subcommand(
      "plan",
      "Says what a step will cost each rank in memory, messages and time, without running it");
  plan->add_option("CONFIG", a->file, "YAML file");
  plan->add_option("overrides", a->overrides, "key.path=value, instead of what the file says");
  plan->add_option("--ranks", a->ranks, "Ranks of the job; if not given, those of one replica")
      ->check(CLI::Range(std::int64_t{1}, detail::most_planned_ranks));
  plan->add_option("--rank", a->rank, "One rank alone, as JSON")->check(CLI::NonNegativeNumber);
  plan->add_option("--format", a->format, "text, json, or trace: as a run writes it, for Perfetto")
      ->check(CLI::IsMember({"text", "json", "trace"}))
      ->capture_default_str();
  plan->add_option("--machine", a->machine, "Constants of the machine, as --calibrate writes them");
  plan->add_flag("--check", a->check, "Say which rules the configuration breaks, and no more")
      ->excludes(plan->get_option("--rank"));
  auto* const search =
      plan->add_flag("--search", a->search, "Look for the best layouts of so many ranks")
          ->excludes(plan->get_option("--rank"))
          ->excludes(plan->get_option("--check"));
  plan->add_option("--memory", a->memory, "Bytes that a rank may need, as 16GB; for --search")
      ->transform(CLI::AsSizeValue(false))
      ->check(CLI::Range(std::uint64_t{0}, std::uint64_t{1} << 62))
      ->needs(search);
  plan->add_option(
      "--calibrate", a->calibrate,
      "Measure the machine with all ranks of the job, and write its constants to this file");
  plan->add_option(
          "--compare", a->compare,
          "Print the times of the plan beside those of a run: of its nxd train --trace DIR")
      ->type_name("DIR")
      ->excludes(plan->get_option("--rank"))
      ->excludes(plan->get_option("--check"))
      ->excludes(plan->get_option("--search"));
  plan->add_option("--precision", a->precision, "What --calibrate measures kernels of")
      ->check(CLI::IsMember({"fp32", "fp32_bf16x3", "mixed_precision"}))
      ->capture_default_str();
  plan->callback([&task, a, &start] {
    if (a->calibrate.empty())
      task = {By::first_rank, [a] { detail::print_plan(*a); }};
    else
      task = {By::every_rank, [a, &start] {
                detail::calibrate_to(start(), a->calibrate, detail::precision_of(a->precision));
              }};
  });
}

}  // namespace nxd
