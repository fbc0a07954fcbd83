// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include <nxd/config/node.hpp>

namespace nxd {

/// A `key.path=value` of the command line, taken apart.
struct Override {
  std::string path;
  std::string value;  ///< YAML text
};

/// Takes `key.path=value` apart.
/// @throws ConfigError where there is no path or no `=`
inline Override parse_override(std::string_view argument) {
  auto const equals = argument.find('=');
  if (equals == argument.npos || equals == 0)
    throw ConfigError("command line: " + on_one_line(std::string(argument), 1000) +
                      " is not an override; write key.path=value");
  return {std::string(argument.substr(0, equals)), std::string(argument.substr(equals + 1))};
}

/// Takes the lines away from a tree: what is no file has none.
inline void forget_lines(Node& node) {
  node.where.line = 0;
  for (auto& item : node.items) forget_lines(item);
  for (auto& key : node.keys) forget_lines(key.value);
}

/// Puts a value at a path of a tree; sections on the way that are not there are made.
/// @throws ConfigError where the path leads through a value that has no keys, or too deep
inline void set_at(Node& root, std::string_view path, Node value) {
  Node* current = &root;
  auto const parts = path_parts(path);
  if (parts.size() > TreeLimits::depth)
    refuse(value.where, "a path has more than 64 parts: " + std::string(path));
  for (auto const& part : parts) {
    if (part.empty()) refuse(value.where, std::string(path) + " is not a path; write section.key");
    if (current->kind == Node::Kind::sequence) {
      current = find_item(*current, part);
      if (current == nullptr)
        refuse(value.where, std::string(path) + " names no element of the list; check " + part);
      continue;
    }
    if (current->is_scalar())
      refuse(value.where,
             std::string(path) + " leads through " + shown(*current) + ", which has no keys");
    if (current->kind == Node::Kind::null) {
      current->kind = Node::Kind::map;
      current->where = value.where;
    }
    if (current->find(part) == nullptr) current->keys.push_back({part, Node{}});
    current = current->find(part);
  }
  *current = std::move(value);
}

}  // namespace nxd
