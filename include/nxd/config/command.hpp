// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include <nxd/comm/single.hpp>
#include <nxd/config/load.hpp>
#include <nxd/config/train_llama.hpp>
#include <nxd/models/generate.hpp>

namespace nxd {

/// The version of the library.
inline constexpr char const* version = "0.1.0";

namespace detail {

inline std::string version_text() {
  return std::string("nxd ") + version +
         "\n"
         "models      llama\n"
         "precision   fp32\n"
         "strategies  tensor parallel, sequence parallel, data parallel, ZeRO-1\n"
         "optimizers  adamw, sgd\n"
         "backend     xtensor, xsimd " +
         std::to_string(lane_count * 32) +
         " bit, BLAS, OpenMP\n"
         "messages    MPI\n"
         "files       YAML, safetensors, Megatron .bin/.idx, text";
}

inline constexpr char const* exit_codes =
    "Exit codes: 0 done, 64 configuration, 65 corrupt input, 70 internal, 71 ranks disagree, 72 hang, "
    "73 not finite, 74 files, 75 saved and wants to go on.";

/// `nxd train`
template <Communicator C>
int train_command(C comm, std::string const& file, std::vector<std::string> const& overrides) {
  auto const loaded = load_config_file(file, overrides);
  Logger const log(std::cout, comm.rank());
  if (auto const line = ignored_line(loaded.ignored); !line.empty()) log.info(line);
  if (auto const saved = train_llama(comm, loaded.config, std::cout)) {
    log.info("checkpoint " + *saved);
  }
  return 0;
}

/// What `nxd generate` is told.
struct GenerateArguments {
  std::string checkpoint, prompt;
  std::int64_t max_tokens = 200;
  Sampling sampling;
};

/// `nxd generate`, on one rank.
inline int generate_command(GenerateArguments const& a) {
  Single comm;
  auto const path = checkpoint_path(a.checkpoint);
  PosixStorage storage(path.directory);
  auto const entry = entry_of(comm, storage, path);
  auto const state = parse_llama_state(
      load(comm, storage, entry, {}, {.verify = Verify::crcs}).state, storage.where(entry));
  World<LlamaPlan, Xt, Single> world(make_plan(state.model, {.seq_length = state.seq_length, .kv_copies = 1}), comm);
  Llama<Duplicated, decltype(world)> const model(world, state.model);
  load(comm, storage, entry, model_pieces(model, Holding::all));
  auto tokens = ByteTokenizer::encode(a.prompt);
  if (tokens.empty()) tokens.push_back(ByteTokenizer::eos);  // as texts begin, where they were trained on
  std::cout << a.prompt << std::flush;
  generate(
      world, model, tokens, a.max_tokens, a.sampling,
      [](std::int32_t token) { return token == ByteTokenizer::eos; },
      [](std::int32_t token) {
        if (token < 256) std::cout << static_cast<char>(token) << std::flush;
      });
  std::cout << "\n";
  return 0;
}

/// `nxd checkpoint export`
inline int export_command(std::string const& checkpoint, std::string const& folder) {
  Single comm;
  auto const path = checkpoint_path(checkpoint);
  PosixStorage from(path.directory);
  auto const entry = entry_of(comm, from, path);
  auto const state = parse_llama_state(
      load(comm, from, entry, {}, {.verify = Verify::crcs}).state, from.where(entry));
  auto const to = std::filesystem::absolute(folder).lexically_normal();
  auto const name = to.filename().empty() ? to.parent_path() : to;
  PosixStorage target(name.parent_path().string());
  ExportOptions options;
  options.other_files["config.json"] = to_json(state.model);
  export_huggingface(from, entry, target, name.filename().string(), options);
  std::cout << "wrote " << name.string() << "\n";
  return 0;
}

}  // namespace detail

/// Does what a command line says. All ranks have the same one. @return the exit code
template <Communicator C> int command(C comm, int argc, char const* const* argv) {
  CLI::App app{"Trains large language models over MPI ranks.", "nxd"};
  app.set_version_flag("--version", detail::version_text());
  app.footer(detail::exit_codes);
  app.require_subcommand(0, 1);

  std::string file;
  std::vector<std::string> overrides;
  auto* const train = app.add_subcommand("train", "Trains what a configuration describes; start it with mpirun or srun");
  bool help_keys = false;
  train->add_flag("--help-keys", help_keys, "List the keys of a configuration, and what they mean");
  train->add_option("CONFIG", file, "YAML file");
  train->add_option("overrides", overrides, "key.path=value, instead of what the file says");

  detail::GenerateArguments generate;
  auto* const go_on = app.add_subcommand("generate", "Goes on from a prompt");
  go_on->add_option("CHECKPOINT", generate.checkpoint, "A step-... folder, or the folder of them")->required();
  go_on->add_option("--prompt", generate.prompt, "Text to go on from");
  go_on->add_option("--max-tokens", generate.max_tokens, "New tokens, at most")->check(CLI::NonNegativeNumber);
  go_on->add_option("--temperature", generate.sampling.temperature, "0: the most likely token always")
      ->check(CLI::NonNegativeNumber);
  go_on->add_option("--seed", generate.sampling.seed, "Of the choices");

  auto* const checkpoint = app.add_subcommand("checkpoint", "Works on checkpoints");
  checkpoint->require_subcommand(1);
  std::string from, to;
  auto* const exported = checkpoint->add_subcommand("export", "Writes a Hugging Face folder");
  exported->add_option("CHECKPOINT", from, "A step-... folder, or the folder of them")->required();
  exported->add_option("DIR", to, "The folder to make")->required();

  try {
    app.parse(argc, argv);
  } catch (CLI::ParseError const& e) {
    bool const asked = e.get_exit_code() == 0;
    if (comm.rank() == 0) app.exit(e);
    return asked ? 0 : static_cast<int>(ExitCode::config);
  }
  if (help_keys) {
    if (comm.rank() == 0) std::cout << nxd::help_keys();
    return 0;
  }
  if (*train) {
    if (file.empty()) throw ConfigError("nxd train wants a configuration: nxd train CONFIG.yaml");
    return detail::train_command(comm, file, overrides);
  }
  if (app.get_subcommands().empty()) {
    if (comm.rank() == 0) std::cout << app.help();
    return 0;
  }
  if (comm.rank() != 0) return 0;
  return *go_on ? detail::generate_command(generate) : detail::export_command(from, to);
}

}  // namespace nxd
