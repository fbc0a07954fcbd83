// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <utility>

#include <nxd/checkpoint/any_storage.hpp>
#include <nxd/checkpoint/load.hpp>
#include <nxd/models/llama_json.hpp>

namespace nxd {

/// What a checkpoint of a Llama says besides its tensors: enough to go on, and to make the model
/// anew.
struct LlamaState {
  LlamaConfig model;
  std::int64_t seq_length = 0;
  std::int64_t steps = 0;             ///< updates taken
  std::int64_t consumed_samples = 0;  ///< over all ranks, since the beginning of training
  std::int64_t tokens = 0;            ///< likewise
};

/// The JSON text of a state.
inline std::string to_text(LlamaState const& s) {
  return to_text(Json(Json::Object{{"model", parse_json(to_json(s.model), "config.json")},
                                   {"tokenizer", "byte"},
                                   {"seq_length", s.seq_length},
                                   {"steps", s.steps},
                                   {"consumed_samples", s.consumed_samples},
                                   {"tokens", s.tokens}})) +
         "\n";
}

/// The state that a text says. @throws CorruptInput naming `where`
inline LlamaState parse_llama_state(std::string const& text, std::string const& where) {
  auto const json = parse_json(text, where);
  JsonView const view(json, where);
  auto const& model = view["model"].object();
  return {parse_llama_config(to_text(Json(model)), where + ": model"), view["seq_length"].count(),
          view["steps"].count(), view["consumed_samples"].count(), view["tokens"].count()};
}

/// A checkpoint as a user names it: the directory and its entry; or the directory alone, which
/// means its newest one.
struct CheckpointPath {
  std::string directory;
  std::string entry;  ///< empty: the newest
};

namespace detail {

[[noreturn]] inline void no_such_checkpoint(std::string const& path) {
  throw IoError(path +
                ": there is no such checkpoint; name a step-... folder, or the folder of them");
}

/// The same in a bucket, where a folder is there if something is in it.
inline CheckpointPath checkpoint_in_bucket(std::string const& given) {
  auto const path = open_storage(given).where("");
  auto const slash = path.rfind('/');
  CheckpointPath const named{path.substr(0, slash), path.substr(slash + 1)};
  auto const step = named.entry.find("step-");
  if (step != std::string::npos && entry_from(named.entry.substr(step))) {
    if (open_storage(named.directory).list(named.entry).empty()) no_such_checkpoint(path);
    return named;
  }
  auto const found = open_storage(path).list("");
  auto const has = [&](char const* name) {
    return std::ranges::find(found, name, &DirectoryEntry::name) != found.end();
  };
  if (has(manifest_name)) return named;
  if (has("checkpoints")) return {path + "/checkpoints", ""};
  if (found.empty()) no_such_checkpoint(path);
  return {path, ""};
}

}  // namespace detail

/// @throws IoError if there is nothing of that name
inline CheckpointPath checkpoint_path(std::string path) {
  if (is_in_bucket(path)) return detail::checkpoint_in_bucket(path);
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  if (!std::filesystem::is_directory(path)) detail::no_such_checkpoint(path);
  auto const full = std::filesystem::path(path);
  if (!std::filesystem::exists(path + "/" + manifest_name) &&
      !entry_from(full.filename().string())) {
    if (std::filesystem::is_directory(path + "/checkpoints")) path += "/checkpoints";
    return {path, ""};
  }
  auto const parent = full.parent_path().string();
  return {parent.empty() ? "." : parent, full.filename().string()};
}

/// The entry that a path means. @throws IoError if its directory has none
template <Communicator C, Storage S>
std::string entry_of(C& comm, S& storage, CheckpointPath const& path) {
  if (!path.entry.empty()) return path.entry;
  auto const newest = find_newest(comm, storage);
  if (!newest) throw IoError(path.directory + ": has no checkpoint that can be loaded");
  return *newest;
}

}  // namespace nxd
