// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <set>
#include <string>
#include <vector>

#include <nxd/checkpoint/agree.hpp>
#include <nxd/checkpoint/digest.hpp>
#include <nxd/checkpoint/json.hpp>

namespace nxd::detail {

/// Adds the members in which two states differ, by their paths.
inline void compare_json(std::string const& path, Json const& a, Json const& b,
                         std::vector<std::string>& differences) {
  auto const* left = std::get_if<Json::Object>(&a.value);
  auto const* right = std::get_if<Json::Object>(&b.value);
  if (left == nullptr || right == nullptr) {
    if (to_text(a) != to_text(b))
      differences.push_back(path + ": " + to_text(a) + " and " + to_text(b));
    return;
  }
  std::set<std::string> keys;
  for (auto const* side : {left, right})
    for (auto const& [key, value] : *side) keys.insert(key);
  for (auto const& key : keys) {
    auto const under = path.empty() ? key : path + "." + key;
    auto const in_left = left->find(key), in_right = right->find(key);
    if (in_left == left->end())
      differences.push_back(under + ": only in the second");
    else if (in_right == right->end())
      differences.push_back(under + ": only in the first");
    else
      compare_json(under, in_left->second, in_right->second, differences);
  }
}

/// A number for a state, as text.
inline std::string state_digest(std::string const& state) {
  return text(run_digest<char>(std::as_bytes(std::span(state)).data(), 0, std::ssize(state)));
}

/// All ranks have the same state, as their digests say; if not, all say the same of it.
/// @throws Error(desync) naming the first rank that has another one, and where it differs
template <class C>
void require_same_state(C& comm, std::vector<std::string> const& digests,
                        std::string const& state) {
  std::size_t rank = 0;
  while (rank < digests.size() && digests[rank] == digests[0]) ++rank;
  if (rank == digests.size()) return;
  auto const all = gather_texts(comm, state);
  std::vector<std::string> differences;
  compare_json("", parse_json(all[0], "the state of rank 0"),
               parse_json(all[rank], "the state of rank " + std::to_string(rank)), differences);
  auto const first = differences.empty() ? "it is written in another way" : differences.front();
  throw Error(ExitCode::desync, "save: rank " + std::to_string(rank) +
                                    " has another state than rank 0: " + first.substr(0, 400));
}

}  // namespace nxd::detail
