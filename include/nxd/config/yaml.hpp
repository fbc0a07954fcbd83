// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <nxd/config/node.hpp>
#include <nxd/core/error.hpp>

namespace nxd {
namespace detail {

/// The first byte that is not UTF-8 or is NUL, or npos.
inline std::size_t first_bad_byte(std::string_view text) {
  auto const follows = [&](std::size_t at) {
    return at < text.size() && (static_cast<unsigned char>(text[at]) & 0xc0U) == 0x80U;
  };
  for (std::size_t i = 0; i < text.size();) {
    auto const c = static_cast<unsigned char>(text[i]);
    std::size_t const length = c == 0                   ? 0
                               : c < 0x80               ? 1
                               : c >= 0xc2 && c <= 0xdf ? 2
                               : c >= 0xe0 && c <= 0xef ? 3
                               : c >= 0xf0 && c <= 0xf4 ? 4
                                                        : 0;
    if (length == 0) return i;
    for (std::size_t k = 1; k < length; ++k)
      if (!follows(i + k)) return i;
    i += length;
  }
  return std::string_view::npos;
}

/// Builds our tree from the parser's events. Aliases become copies, so that no tree has a cycle,
/// and all copies together are bounded.
class TreeBuilder : public YAML::EventHandler {
 public:
  explicit TreeBuilder(std::shared_ptr<std::string const> file) : file_(std::move(file)) {}

  void OnDocumentStart(YAML::Mark const& mark) override {
    if (root_) refuse(at(mark), "a second document starts here; a configuration is one");
  }
  void OnDocumentEnd() override {}
  void OnNull(YAML::Mark const& mark, YAML::anchor_t anchor) override {
    place(node(Node::Kind::null, mark), anchor, mark);
  }
  void OnAlias(YAML::Mark const& mark, YAML::anchor_t anchor) override {
    if (++aliases_ > TreeLimits::aliases)
      refuse(at(mark), "there are more than 1000 aliases; write the values out");
    auto const found = anchors_.find(anchor);
    if (found == anchors_.end())
      refuse(at(mark), "an alias stands inside what it names; write the value out");
    nodes_ += found->second.nodes - 1;
    bytes_ += found->second.bytes;
    check_room(mark, found->second.height);
    place(found->second.node, YAML::NullAnchor, mark);
  }
  void OnScalar(YAML::Mark const& mark, std::string const& tag, YAML::anchor_t anchor,
                std::string const& value) override {
    check_tag(mark, tag);
    Node scalar = node(tag == "!" ? Node::Kind::quoted : Node::Kind::plain, mark);
    scalar.text = value;
    place(std::move(scalar), anchor, mark);
  }
  void OnSequenceStart(YAML::Mark const& mark, std::string const& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(Node::Kind::sequence, mark, tag, anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(YAML::Mark const& mark, std::string const& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(Node::Kind::map, mark, tag, anchor);
  }
  void OnMapEnd() override { close(); }

  std::optional<Node>& root() { return root_; }

 private:
  struct Open {
    Node node;
    YAML::anchor_t anchor;
    std::optional<std::string> key;  ///< read, and waiting for its value
    std::set<std::string> seen;
    std::vector<Node> merges;
  };

  struct Anchored {
    Node node;
    std::size_t nodes;
    std::size_t bytes;   ///< of texts and names
    std::size_t height;  ///< containers on top of each other
  };

  Where at(YAML::Mark const& mark) const { return {file_, mark.line + 1}; }
  Node node(Node::Kind kind, YAML::Mark const& mark) const {
    Node made;
    made.kind = kind;
    made.where = at(mark);
    return made;
  }
  void check_tag(YAML::Mark const& mark, std::string const& tag) const {
    if (!tag.empty() && tag != "?" && tag != "!")
      refuse(at(mark), "the tag " + tag + " has no meaning here; leave it out");
  }

  void check_room(YAML::Mark const& mark, std::size_t height) const {
    if (open_.size() + height > TreeLimits::depth)
      refuse(at(mark), "values are nested more than 64 deep; flatten them");
    if (nodes_ > TreeLimits::nodes)
      refuse(at(mark), "the file and its aliases hold more than 100000 values; write fewer");
    if (bytes_ > TreeLimits::all_text_bytes)
      refuse(at(mark), "the file and its aliases hold more than 8 MiB of text; write less");
  }

  void open(Node::Kind kind, YAML::Mark const& mark, std::string const& tag,
            YAML::anchor_t anchor) {
    check_tag(mark, tag);
    check_room(mark, 1);
    if (!open_.empty() && open_.back().node.kind == Node::Kind::map && !open_.back().key)
      refuse(at(mark), "a key is a list or a map; write a name (or quote what begins with { or [)");
    open_.push_back({node(kind, mark), anchor, std::nullopt, {}, {}});
  }

  void close() {
    Open done = std::move(open_.back());
    open_.pop_back();
    for (auto const& merge : done.merges)
      for (auto const& [name, value] : merge.keys)
        if (done.seen.insert(name).second) done.node.keys.push_back({name, value});
    YAML::Mark mark;
    mark.line = done.node.where.line - 1;
    place(std::move(done.node), done.anchor, mark);
  }

  /// Puts a finished value where it belongs: as the root, an element, a key, or a key's value.
  void place(Node value, YAML::anchor_t anchor, YAML::Mark const& mark) {
    ++nodes_;
    if (anchor != YAML::NullAnchor) {
      auto const nodes = node_count(value), bytes = text_bytes(value);
      nodes_ += nodes;
      bytes_ += bytes;
      check_room(mark, 0);
      anchors_[anchor] = {value, nodes, bytes, height(value)};
    }
    check_room(mark, 0);
    if (open_.empty()) {
      root_ = std::move(value);
      return;
    }
    Open& top = open_.back();
    if (top.node.kind == Node::Kind::sequence)
      top.node.items.push_back(std::move(value));
    else if (!top.key)
      take_key(top, value);
    else
      take_value(top, std::move(value), mark);
  }

  void take_key(Open& top, Node const& key) const {
    if (!key.is_scalar()) refuse(key.where, "a key is " + shown(key) + "; write a name");
    bool const merge = key.kind == Node::Kind::plain && key.text == "<<";
    auto const name = merge ? std::string("<<") : key.text;
    if (!top.seen.insert(name).second)
      refuse(key.where, name + " stands twice in one section; leave one of them");
    top.key = name;
    if (merge) top.key = std::string();
  }

  void take_value(Open& top, Node value, YAML::Mark const& mark) const {
    auto const name = *std::exchange(top.key, std::nullopt);
    if (!name.empty()) {
      top.node.keys.push_back({name, std::move(value)});
      return;
    }
    auto sources = std::move(value.items);
    if (value.kind != Node::Kind::sequence) sources.push_back(std::move(value));
    for (auto& source : sources) {
      if (source.kind != Node::Kind::map)
        refuse(at(mark), "<< merges " + shown(source) + "; it can merge maps only");
      top.merges.push_back(std::move(source));
    }
  }

  std::shared_ptr<std::string const> file_;
  std::vector<Open> open_;
  std::map<YAML::anchor_t, Anchored> anchors_;
  std::size_t aliases_ = 0;
  std::size_t nodes_ = 0;
  std::size_t bytes_ = 0;  ///< that aliases and anchors have copied
  std::optional<Node> root_;
};

}  // namespace detail

/// Reads one YAML document into a tree. Merge keys are applied, aliases are copied; duplicate keys,
/// cycles, tags, and whatever is too large, too deep or not UTF-8 are refused.
/// `name` stands for the file in sentences. An empty text is a null node.
/// @throws ConfigError with `name:line: sentence`
inline Node parse_yaml(std::string const& text, std::string const& name) {
  auto const file = std::make_shared<std::string const>(name);
  if (text.size() > TreeLimits::file_bytes)
    refuse({file, 0}, "the file is larger than 1 MiB; a configuration is small");
  if (auto const bad = detail::first_bad_byte(text); bad != std::string_view::npos) {
    auto const end = text.begin() + static_cast<std::ptrdiff_t>(bad);
    refuse({file, 1 + static_cast<int>(std::count(text.begin(), end, '\n'))},
           "there is a byte that is not UTF-8 text; save the file as UTF-8");
  }
  auto const is_flow = [](char c) {
    return std::string_view("[]{},").find(c) != std::string::npos;
  };
  if (std::ranges::count_if(text, is_flow) > std::ptrdiff_t{TreeLimits::flow_marks})
    refuse({file, 0}, "there are more than 200000 brackets and commas; write fewer values");
  detail::TreeBuilder builder(file);
  try {
    std::istringstream stream(text);
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (YAML::Exception const& error) {
    bool const flow = error.msg.find("flow") != error.msg.npos && text.find("${") != text.npos;
    refuse({file, error.mark.is_null() ? 0 : error.mark.line + 1},
           "this is not YAML: " + error.msg + "; " +
               (flow ? "quote ${...} inside [ ] and { }" : "mend it"));
  }
  if (builder.root()) return std::move(*builder.root());
  Node empty;
  empty.where = {file, 0};
  return empty;
}

/// The text of a YAML file, of which no more than the largest is read.
/// @throws IoError where it cannot be read
inline std::string read_yaml_text(std::string const& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text;
  text.resize(TreeLimits::file_bytes + 1);
  if (file) file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file.is_open() || file.bad() || (file.fail() && !file.eof()))
    throw IoError(path + ": the configuration cannot be read; check the path");
  text.resize(static_cast<std::size_t>(file.gcount()));
  return text;
}

}  // namespace nxd
