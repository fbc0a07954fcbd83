// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <iostream>
#include <memory>
#include <string>

#include <nxd/checkpoint/huggingface.hpp>
#include <nxd/comm/single.hpp>
#include <nxd/config/commands/task.hpp>
#include <nxd/config/llama_state.hpp>
#include <nxd/models/llama_json.hpp>

namespace nxd {

namespace detail {

struct ExportArguments {
  std::string checkpoint, folder;
};

inline void export_from(ExportArguments const& a) {
  Single comm;
  auto const path = checkpoint_path(a.checkpoint);
  PosixStorage from(path.directory);
  auto const entry = entry_of(comm, from, path);
  auto const state = parse_llama_state(load(comm, from, entry, {}, {.verify = Verify::crcs}).state,
                                       from.where(entry));
  auto const to = std::filesystem::absolute(a.folder).lexically_normal();
  auto const name = to.filename().empty() ? to.parent_path() : to;
  PosixStorage target(name.parent_path().string());
  ExportOptions options;
  options.other_files["config.json"] = to_json(state.model);
  export_huggingface(from, entry, target, name.filename().string(), options);
  std::cout << "wrote " << name.string() << "\n";
}

}  // namespace detail

/// `nxd checkpoint export CHECKPOINT DIR`
inline void add_checkpoint_command(CLI::App& app, Task& task) {
  auto* const checkpoint = app.add_subcommand("checkpoint", "Works on checkpoints");
  checkpoint->require_subcommand(1);

  auto const a = std::make_shared<detail::ExportArguments>();
  auto* const exported = checkpoint->add_subcommand("export", "Writes a Hugging Face folder");
  exported->add_option("CHECKPOINT", a->checkpoint, "A step-... folder, or the folder of them")
      ->required();
  exported->add_option("DIR", a->folder, "The folder to make")->required();
  on_command(*exported, task, By::first_rank, [a] { detail::export_from(*a); });
}

}  // namespace nxd
