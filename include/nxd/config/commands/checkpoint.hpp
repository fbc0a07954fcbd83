// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <string>

#include <nxd/checkpoint/huggingface.hpp>
#include <nxd/config/commands/checkpoint_change.hpp>
#include <nxd/config/commands/checkpoint_look.hpp>
#include <nxd/config/commands/task.hpp>
#include <nxd/config/llama_state.hpp>
#include <nxd/models/llama_json.hpp>

namespace nxd {

namespace detail {

struct ExportArguments {
  std::string checkpoint, folder, dtype = "as stored";
  std::int64_t shard_bytes = ExportOptions{}.shard_bytes;
};

/// PyTorch's name of the type that weights have after an export.
inline char const* torch_name(Manifest const& manifest, std::optional<DType> dtype) {
  auto const first = manifest.tensors.lower_bound({"model", ""});
  if (!dtype && first != manifest.tensors.end()) dtype = first->second.dtype;
  if (dtype == DType::bf16) return "bfloat16";
  if (dtype == DType::f16) return "float16";
  return "float32";
}

inline void export_from(ExportArguments const& a) {
  NamedCheckpoint from(a.checkpoint);
  EntryReader<AnyStorage> reader(from.storage, from.entry);
  auto const state = parse_llama_state(reader.state(), reader.where());
  if (is_in_bucket(a.folder))
    throw ConfigError(a.folder + ": a Hugging Face folder is made in a file system; name one");
  auto const to = std::filesystem::absolute(a.folder).lexically_normal();
  auto const name = to.filename().empty() ? to.parent_path() : to;
  PosixStorage target(name.parent_path().string());
  ExportOptions options;
  options.dtype = dtype_named(a.dtype);
  options.shard_bytes = a.shard_bytes;
  options.other_files["config.json"] =
      to_json(state.model, torch_name(reader.manifest(), options.dtype));
  export_huggingface(from.storage, from.entry, target, name.filename().string(), options);
  std::cout << "wrote " << name.string() << "\n";
}

}  // namespace detail

/// `nxd checkpoint export CHECKPOINT DIR`, and the other commands for checkpoints.
inline void add_checkpoint_command(CLI::App& app, Task& task) {
  auto* const checkpoint = app.add_subcommand("checkpoint", "Works on checkpoints");
  checkpoint->require_subcommand(1);

  auto const a = std::make_shared<detail::ExportArguments>();
  auto* const exported = checkpoint->add_subcommand("export", "Writes a Hugging Face folder");
  exported->add_option("CHECKPOINT", a->checkpoint, "A step-... folder, or the folder of them")
      ->required();
  exported->add_option("DIR", a->folder, "The folder to make")->required();
  detail::add_dtype(*exported, a->dtype);
  exported
      ->add_option("--shard-size", a->shard_bytes,
                   "A larger model is cut into files of at most so many bytes, and an index")
      ->transform(CLI::AsSizeValue(true))
      ->capture_default_str();
  on_command(*exported, task, By::first_rank, [a] { detail::export_from(*a); });
  add_checkpoint_look_commands(*checkpoint, task);
  add_checkpoint_change_commands(*checkpoint, task);
}

}  // namespace nxd
