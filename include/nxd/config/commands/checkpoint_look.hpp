// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ctime>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <nxd/checkpoint/diff.hpp>
#include <nxd/checkpoint/inspect_text.hpp>
#include <nxd/checkpoint/verify.hpp>
#include <nxd/comm/single.hpp>
#include <nxd/config/commands/task.hpp>
#include <nxd/config/llama_state.hpp>

namespace nxd {

namespace detail {

/// A checkpoint that a command line names, opened.
struct NamedCheckpoint {
  AnyStorage storage;
  std::string entry;

  /// @throws IoError if there is nothing of that name
  explicit NamedCheckpoint(CheckpointPath const& path) : storage(open_storage(path.directory)) {
    Single comm;
    entry = entry_of(comm, storage, path);
  }
  explicit NamedCheckpoint(std::string const& path) : NamedCheckpoint(checkpoint_path(path)) {}
};

struct LookArguments {
  std::string first, second, format = "text";
  bool weights = false;
};

inline void list_checkpoints(LookArguments const& a) {
  auto storage = open_storage(checkpoint_path(a.first).directory);
  auto const all = survey(storage);
  auto const now = static_cast<std::int64_t>(std::time(nullptr));
  if (a.format == "json")
    std::cout << survey_json(all, now);
  else if (all.empty())
    std::cout << "no checkpoints in " << storage.where("") << "\n";
  else
    std::cout << survey_text(all, now);
}

inline void show_checkpoint(LookArguments const& a) {
  NamedCheckpoint named(a.first);
  EntryReader<AnyStorage> const reader(named.storage, named.entry);
  if (a.format == "json")
    std::cout << manifest_json(reader.manifest());
  else
    std::cout << "checkpoint " << reader.where() << "\n" << manifest_words(reader.manifest());
}

inline void verify_one(AnyStorage& storage, std::string const& entry) {
  auto const report = verify(storage, entry);
  std::cout << "sound: " << storage.where(entry) << ": " << report.files << " files, "
            << report.bytes << " bytes, each chunk by its CRC, " << report.hashed
            << " files by their XXH3-128, " << report.tensors << " tensors by their digests; "
            << in_bytes(report.bytes) << " in " << in_short(report.seconds) << " s, "
            << in_bytes(static_cast<std::int64_t>(static_cast<double>(report.bytes) /
                                                  std::max(report.seconds, 1e-6)))
            << "/s" << std::endl;
  for (auto const& file : report.unlisted)
    std::cout << "  beside it " << file << ", which its manifest does not know\n";
}

/// One checkpoint, or all of a folder, the newest first.
inline void verify_checkpoints(LookArguments const& a) {
  auto const path = checkpoint_path(a.first);
  auto storage = open_storage(path.directory);
  if (!path.entry.empty()) return verify_one(storage, path.entry);
  auto const all = entries(storage);
  if (all.empty()) throw IoError(path.directory + ": has no checkpoint");
  std::vector<std::string> broken;
  for (auto const& entry : all) try {
      verify_one(storage, entry);
    } catch (CorruptInput const& reason) {
      std::cout << "broken: " << reason.what() << std::endl;
      broken.emplace_back(reason.what());
    }
  if (broken.empty()) return;
  auto const more = broken.size() == 1 ? "" : "; " + std::to_string(broken.size()) + " are broken";
  throw CorruptInput(broken.front() + more);
}

inline std::string index_text(std::vector<std::int64_t> const& index) {
  std::string said = "[";
  for (auto const i : index) said += (said.size() > 1 ? "," : "") + std::to_string(i);
  return said + "]";
}

inline std::string difference_text(CheckpointDifference const& d) {
  if (d.empty()) return "equal: " + std::to_string(d.tensors) + " tensors\n";
  std::string said;
  if (d.element)
    said += text(d.element->tensor) + " " + index_text(d.element->index) + ": " + d.element->first +
            " and " + d.element->second + "\n";
  for (auto const& key : d.kinds) said += text(key) + ": has another shape or type\n";
  for (auto const& [keys, where] :
       {std::pair{&d.only_first, "first"}, std::pair{&d.only_second, "second"}})
    if (!keys->empty())
      said += text(keys->front()) +
              (keys->size() > 1 ? " and " + std::to_string(keys->size() - 1) + " more" : "") +
              ": only in the " + where + "\n";
  for (auto const& line : d.state) said += "state " + line + "\n";
  return said + "different: " + std::to_string(d.count()) + " tensors of " +
         std::to_string(d.tensors + std::ssize(d.only_first) + std::ssize(d.only_second)) +
         (d.state.empty() ? "" : ", and the state") + "\n";
}

/// @return whether there is no difference
inline bool diff_checkpoints(LookArguments const& a) {
  NamedCheckpoint first(a.first), second(a.second);
  auto const found = diff(first.storage, first.entry, second.storage, second.entry,
                          a.weights ? Compare::weights : Compare::all);
  std::cout << difference_text(found);
  return found.empty();
}

inline constexpr char const* checkpoint_help = "A step-... folder, or the folder of them";

inline void add_format(CLI::App& command, LookArguments& a) {
  command.add_option("--format", a.format, "How it is told")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
}

}  // namespace detail

/// `nxd checkpoint list DIR`, `show CHECKPOINT`, `verify CHECKPOINT`, `diff A B`: nothing is
/// changed.
inline void add_checkpoint_look_commands(CLI::App& checkpoint, Task& task) {
  auto const a = std::make_shared<detail::LookArguments>();
  auto* const list = checkpoint.add_subcommand("list", "Tells what a folder of checkpoints has");
  list->add_option("DIR", a->first, "The folder, or that of a run")->required();
  detail::add_format(*list, *a);
  on_command(*list, task, By::first_rank, [a] { detail::list_checkpoints(*a); });

  auto* const show = checkpoint.add_subcommand("show", "Tells what a checkpoint holds");
  show->add_option("CHECKPOINT", a->first, detail::checkpoint_help)->required();
  detail::add_format(*show, *a);
  on_command(*show, task, By::first_rank, [a] { detail::show_checkpoint(*a); });

  auto* const verify = checkpoint.add_subcommand(
      "verify", "Reads all of a checkpoint, or of each in a folder; 65 if one is broken");
  verify->add_option("CHECKPOINT", a->first, detail::checkpoint_help)->required();
  on_command(*verify, task, By::first_rank, [a] { detail::verify_checkpoints(*a); });

  auto* const diff = checkpoint.add_subcommand(
      "diff", "Compares two checkpoints of any layouts; exit code 0 if equal, 1 if not");
  diff->add_option("A", a->first, detail::checkpoint_help)->required();
  diff->add_option("B", a->second, detail::checkpoint_help)->required();
  diff->add_flag("--weights", a->weights, "The tensors of the model alone");
  on_command(*diff, task, By::first_rank,
             [a, &task] { task.status = detail::diff_checkpoints(*a) ? 0 : 1; });
}

}  // namespace nxd
