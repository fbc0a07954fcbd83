// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include <nxd/checkpoint/import.hpp>
#include <nxd/checkpoint/retention.hpp>
#include <nxd/config/commands/checkpoint_look.hpp>
#include <nxd/models/llama_tensors.hpp>

namespace nxd {

namespace detail {

struct PruneArguments {
  std::string directory;
  std::int64_t keep = 0, every = 0;
  bool dry = false;
};

inline void prune_checkpoints(PruneArguments const& a) {
  auto storage = open_storage(checkpoint_path(a.directory).directory);
  Retention const keep{.newest = a.keep, .every = a.every, .trust = Trust::bytes};
  auto const removed = a.dry ? dispensable(storage, keep) : prune(storage, keep);
  auto const now = clock_of(storage, unique_id());
  auto const swept = a.dry ? left_behind(storage, now) : sweep(storage, now);
  for (auto const* names : {&removed, &swept})
    for (auto const& name : *names)
      std::cout << (a.dry ? "would remove " : "removed ") << storage.where(name) << "\n";
  auto const stay = std::ssize(entries(storage)) - (a.dry ? std::ssize(removed) : 0);
  std::cout << stay << (stay == 1 ? " checkpoint stays\n" : " checkpoints stay\n");
}

struct ImportArguments {
  std::string folder, directory, dtype = "as stored";
  std::int64_t shards = 1, seq_length = 0;
};

inline void import_folder(ImportArguments const& a) {
  require_finished(a.folder);
  PosixStorage from(a.folder);
  auto to = open_storage(a.directory);
  LlamaState state;
  state.model =
      parse_llama_config(read_text(from, "config.json", 1 << 20), from.where("config.json"));
  check(state.model);
  state.seq_length = a.seq_length > 0
                         ? a.seq_length
                         : std::min<std::int64_t>(state.model.max_position_embeddings, 2048);
  ImportOptions options{dtype_named(a.dtype), a.shards};
  auto const imported =
      import_huggingface(from, to, llama_tensors(state.model), to_text(state), options);
  if (!imported.unused.empty())
    std::cout << "not used: '" << imported.unused.front() << "'"
              << (imported.unused.size() > 1
                      ? " and " + std::to_string(imported.unused.size() - 1) + " more tensors"
                      : "")
              << "\n";
  std::cout << "wrote " << imported.saved.path << " (" << in_bytes(imported.saved.bytes)
            << ", weights alone)\n";
}

struct ReshardArguments {
  std::string checkpoint, directory;
  std::int64_t shards = 1;
};

inline void reshard_checkpoint(ReshardArguments const& a) {
  NamedCheckpoint from(a.checkpoint);
  auto to = open_storage(a.directory);
  auto const saved = reshard(from.storage, from.entry, to, a.shards);
  std::cout << "wrote " << saved.path << " (" << in_bytes(saved.bytes) << ", digests as before)\n";
}

inline void add_shards(CLI::App& command, std::int64_t& shards) {
  command.add_option("--shards", shards, "Files of weights, and as many of the optimizer's state")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{99999}))
      ->capture_default_str();
}

inline void add_dtype(CLI::App& command, std::string& dtype) {
  command.add_option("--dtype", dtype, "Of the weights: F32, BF16, F16, or as stored")
      ->check(CLI::IsMember({"F32", "BF16", "F16", "as stored"}))
      ->capture_default_str();
}

inline void add_prune(CLI::App& checkpoint, Task& task) {
  auto const a = std::make_shared<PruneArguments>();
  auto* const prune = checkpoint.add_subcommand(
      "prune", "Removes old checkpoints; those that stay are read and verified first");
  prune->add_option("DIR", a->directory, "The folder of them, or that of a run")->required();
  prune->add_option("--keep", a->keep, "The newest that stay, of those that are sound")
      ->required()
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 30));
  prune->add_option("--every", a->every, "Those stay too whose step is a multiple of this")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 60));
  prune->add_flag("--dry-run", a->dry, "Tell what would be removed, and remove nothing");
  on_command(*prune, task, By::first_rank, [a] { prune_checkpoints(*a); });
}

inline void add_import(CLI::App& checkpoint, Task& task) {
  auto const a = std::make_shared<ImportArguments>();
  auto* const import = checkpoint.add_subcommand(
      "import", "Makes a checkpoint of a Hugging Face folder, with weights alone");
  import->add_option("HFDIR", a->folder, "Has config.json and safetensors files")->required();
  import->add_option("DIR", a->directory, "The folder of checkpoints to make")->required();
  add_dtype(*import, a->dtype);
  import
      ->add_option("--seq-length", a->seq_length,
                   "Places that a model sees; if not given, those of its config.json, at most 2048")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 30));
  add_shards(*import, a->shards);
  on_command(*import, task, By::first_rank, [a] { import_folder(*a); });
}

inline void add_reshard(CLI::App& checkpoint, Task& task, char const* name, char const* help) {
  auto const a = std::make_shared<ReshardArguments>();
  auto* const reshard = checkpoint.add_subcommand(name, help);
  reshard->add_option("CHECKPOINT", a->checkpoint, checkpoint_help)->required();
  reshard->add_option("DIR", a->directory, "The folder of checkpoints to make")->required();
  if (std::string_view(name) == "reshard") add_shards(*reshard, a->shards);
  on_command(*reshard, task, By::first_rank, [a] { reshard_checkpoint(*a); });
}

}  // namespace detail

/// `nxd checkpoint prune DIR`, `import HFDIR DIR`, `reshard CHECKPOINT DIR`, `merge CHECKPOINT
/// DIR`.
inline void add_checkpoint_change_commands(CLI::App& checkpoint, Task& task) {
  detail::add_prune(checkpoint, task);
  detail::add_import(checkpoint, task);
  detail::add_reshard(checkpoint, task, "reshard",
                      "Writes a checkpoint anew in another number of files");
  detail::add_reshard(checkpoint, task, "merge", "Writes a checkpoint anew, each kind in one file");
}

}  // namespace nxd
