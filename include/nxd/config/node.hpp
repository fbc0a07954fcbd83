// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nxd/core/error.hpp>

namespace nxd {

/// Where a value was written: a file and a line, or a place that has no lines.
struct Where {
  std::shared_ptr<std::string const> file;
  int line = 0;  ///< from 1; 0 where there are none

  /// `FILE:LINE`, or `FILE`.
  std::string text() const {
    if (!file) return "configuration";
    return line > 0 ? *file + ":" + std::to_string(line) : *file;
  }
};

struct NodeKey;

/// A value of a configuration tree, as written: what a text means is decided by who reads it.
struct Node {
  enum class Kind : std::uint8_t { null, plain, quoted, sequence, map };

  Kind kind = Kind::null;
  std::string text;           ///< of a plain or quoted scalar
  std::vector<Node> items;    ///< of a sequence
  std::vector<NodeKey> keys;  ///< of a map, in the order of the file
  Where where;

  /// Neither a list nor a map nor nothing.
  bool is_scalar() const { return kind == Kind::plain || kind == Kind::quoted; }

  /// The value of a key, or null.
  Node const* find(std::string_view key) const;
  /// The value of a key, or null.
  Node* find(std::string_view key);
};

/// A key of a map, and its value.
struct NodeKey {
  std::string name;
  Node value;
};

inline Node const* Node::find(std::string_view key) const {
  for (auto const& [name, value] : keys)
    if (name == key) return &value;
  return nullptr;
}

inline Node* Node::find(std::string_view key) {
  return const_cast<Node*>(std::as_const(*this).find(key));
}

/// Nodes of a tree, itself included.
inline std::size_t node_count(Node const& node) {
  std::size_t count = 1;
  for (auto const& item : node.items) count += node_count(item);
  for (auto const& [name, value] : node.keys) count += node_count(value);
  return count;
}

/// Lists and maps on top of each other; a scalar has none.
inline std::size_t height(Node const& node) {
  std::size_t below = 0;
  for (auto const& item : node.items) below = std::max(below, height(item));
  for (auto const& [name, value] : node.keys) below = std::max(below, height(value));
  return node.kind == Node::Kind::sequence || node.kind == Node::Kind::map ? below + 1 : 0;
}

/// Bytes of the texts and names of a tree.
inline std::size_t text_bytes(Node const& node) {
  auto bytes = node.text.size();
  for (auto const& item : node.items) bytes += text_bytes(item);
  for (auto const& [name, value] : node.keys) bytes += name.size() + text_bytes(value);
  return bytes;
}

/// How a sentence speaks of a value.
inline std::string shown(Node const& node) {
  switch (node.kind) {
    case Node::Kind::null: return "null";
    case Node::Kind::plain: return node.text;
    case Node::Kind::quoted: return "the text \"" + node.text + "\"";
    case Node::Kind::sequence: return "a list";
    case Node::Kind::map: return "a map";
  }
  return "";
}

/// The parts of `a.b[2].c`: a, b, 2, c.
inline std::vector<std::string> path_parts(std::string_view path) {
  std::vector<std::string> parts(1);
  for (char const c : path) {
    if (c == '.' || c == '[')
      parts.emplace_back();
    else if (c != ']')
      parts.back() += c;
  }
  return parts;
}

/// The element of a list that a part of a path names, or null.
template <class SomeNode> SomeNode* find_item(SomeNode& list, std::string_view part) {
  if (part.empty() || part.size() > 6) return nullptr;
  std::size_t index = 0;
  for (char const c : part) {
    if (c < '0' || c > '9') return nullptr;
    index = index * 10 + static_cast<std::size_t>(c - '0');
  }
  return index < list.items.size() ? &list.items[index] : nullptr;
}

/// What a configuration tree may hold at most, whatever its aliases and interpolations stand for.
struct TreeLimits {
  static constexpr std::size_t file_bytes = 1 << 20;
  static constexpr std::size_t depth = 64;
  static constexpr std::size_t aliases = 1000;
  static constexpr std::size_t nodes = 100'000;
  static constexpr std::size_t flow_marks = 200'000;  ///< brackets and commas of a file
  static constexpr std::size_t interpolations = 10'000;
  static constexpr std::size_t text_bytes = 1 << 16;      ///< of an interpolated text
  static constexpr std::size_t all_text_bytes = 8 << 20;  ///< of all texts and names
};

/// Ends the reading of a configuration with `FILE:LINE: sentence`; one that quotes a very long text
/// is cut short.
[[noreturn]] inline void refuse(Where const& where, std::string const& sentence) {
  throw ConfigError(where.text() + ": " + on_one_line(sentence, 1000));
}

}  // namespace nxd
