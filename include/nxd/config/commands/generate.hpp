// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <iostream>
#include <memory>
#include <string>

#include <nxd/comm/single.hpp>
#include <nxd/config/commands/task.hpp>
#include <nxd/config/train_llama.hpp>
#include <nxd/models/generate.hpp>

namespace nxd {

namespace detail {

struct GenerateArguments {
  std::string checkpoint, prompt;
  std::int64_t max_tokens = 200;
  Sampling sampling;
};

inline void generate_from(GenerateArguments const& a) {
  Single comm;
  auto const path = checkpoint_path(a.checkpoint);
  auto storage = open_storage(path.directory);
  auto const entry = entry_of(comm, storage, path);
  auto const state = parse_llama_state(
      load(comm, storage, entry, {}, {.verify = Verify::crcs}).state, storage.where(entry));
  World<LlamaPlan, Xt, Single> world(
      make_plan(state.model, {.seq_length = state.seq_length, .kv_copies = 1}), comm);
  Llama<Duplicated, decltype(world)> const model(world, state.model);
  load(comm, storage, entry, model_pieces(model, Holding::all));
  auto tokens = ByteTokenizer::encode(a.prompt);
  if (tokens.empty())
    tokens.push_back(ByteTokenizer::eos);  // as texts begin, where they were trained on
  std::cout << a.prompt << std::flush;
  generate(
      world, model, tokens, a.max_tokens, a.sampling,
      [](std::int32_t token) { return token == ByteTokenizer::eos; },
      [](std::int32_t token) {
        if (token < 256) std::cout << static_cast<char>(token) << std::flush;
      });
  std::cout << "\n";
}

}  // namespace detail

/// `nxd generate CHECKPOINT --prompt TEXT`
inline void add_generate_command(CLI::App& app, Task& task) {
  auto const a = std::make_shared<detail::GenerateArguments>();
  auto* const generate = app.add_subcommand("generate", "Goes on from a prompt");
  generate->add_option("CHECKPOINT", a->checkpoint, "A step-... folder, or the folder of them")
      ->required();
  generate->add_option("--prompt", a->prompt, "Text to go on from");
  generate->add_option("--max-tokens", a->max_tokens, "New tokens, at most")
      ->check(CLI::NonNegativeNumber);
  generate->add_option("--temperature", a->sampling.temperature, "0: the most likely token always")
      ->check(CLI::NonNegativeNumber);
  generate->add_option("--seed", a->sampling.seed, "Of the choices");
  on_command(*generate, task, By::first_rank, [a] { detail::generate_from(*a); });
}

}  // namespace nxd
