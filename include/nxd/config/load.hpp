// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <nxd/config/interpolate.hpp>
#include <nxd/config/nearest.hpp>
#include <nxd/config/node.hpp>
#include <nxd/config/override.hpp>
#include <nxd/config/read_value.hpp>
#include <nxd/config/yaml.hpp>
#include <nxd/train/config.hpp>
#include <nxd/train/config_rules.hpp>
#include <nxd/train/config_text.hpp>

namespace nxd {

/// A configuration, and what is worth a line at start-up.
struct LoadedConfig {
  TrainingConfig config;
  std::vector<std::string> ignored;  ///< keys of the file that have no effect here
  std::vector<std::string>
      broken;  ///< rules between keys that it breaks, a sentence each, if collected
};

/// What is done about rules between keys that a configuration breaks.
enum class Broken : bool { refuse, collect };

namespace detail {

/// Refuses keys that the table does not know, and collects those that it ignores.
class KeyCheck {
 public:
  KeyCheck() {
    for (auto& row : key_table()) {
      paths_.push_back(row.path);
      kinds_.emplace(row.path, row.kind);
    }
  }

  void run(Node const& section, std::string const& at, std::vector<std::string>& ignored) const {
    for (auto const& [name, value] : section.keys) {
      auto const path = joined(at, name);
      auto const found = kinds_.find(path);
      if (found == kinds_.end() || name.find('.') != name.npos) unknown(path, value);
      if (found->second == KeyKind::ignored) ignored.push_back(path);
      if (found->second == KeyKind::section) run(value, path, ignored);
    }
  }

 private:
  [[noreturn]] void unknown(std::string const& path, Node const& value) const {
    auto const meant = nearest_path(path, paths_);
    refuse(value.where, path + " is not a key; " +
                            (meant.empty() ? "nxd train --help-keys lists them"
                                           : "did you mean " + meant + "?"));
  }

  std::vector<std::string> paths_;
  std::map<std::string, KeyKind, std::less<>> kinds_;
};

/// Fills the fields from a tree, and remembers where each was written.
class Binder {
 public:
  explicit Binder(Node const& root) : section_(&root) {}

  void key(std::string_view name, auto& field, Limit const& limit, std::string_view) {
    if (Node const* node = value(name)) read(Reading{joined(at_, name), *node, limit}, field);
  }
  void required(std::string_view name, auto& field, Limit const& limit, std::string_view meaning) {
    if (value(name) == nullptr)
      refuse(section_->where,
             joined(at_, name) + " is missing; add it (" + std::string(meaning) + ")");
    key(name, field, limit, meaning);
  }
  void only(std::string_view name, auto allowed, std::string_view reason) {
    Node const* node = value(name);
    if (node == nullptr || agrees(*node, allowed)) return;
    refuse(node->where, joined(at_, name) + " is " + shown(*node) + ", but " + std::string(reason) +
                            "; set it to " + written(allowed));
  }
  void ignored(std::string_view) {}
  void refused(std::string_view name, std::string_view reason) {
    if (Node const* node = value(name))
      refuse(node->where,
             joined(at_, name) + " is set, but " + std::string(reason) + "; leave it out");
  }
  void section(std::string_view name, auto& fields, std::string_view) {
    Node const* node = value(name);
    if (node != nullptr && node->kind != Node::Kind::map)
      refuse(node->where,
             joined(at_, name) + " is " + shown(*node) + ", but a section of keys is wanted");
    auto const outer = std::pair{at_, section_};
    Node missing;
    missing.where = section_->where;
    section_ = node != nullptr ? node : &missing;
    at_ = joined(at_, name);
    describe(*this, fields);
    std::tie(at_, section_) = outer;
  }

  /// Where a key was written, or the nearest section that was.
  Where where(std::string path, Node const& root) const {
    for (;; path.resize(path.rfind('.'))) {
      if (auto const found = origins_.find(path); found != origins_.end()) return found->second;
      if (path.find('.') == path.npos) return {root.where.file, 0};
    }
  }

 private:
  /// The value of a key of this section; null is no value.
  Node const* value(std::string_view name) {
    Node const* node = section_->find(name);
    if (node == nullptr) return nullptr;
    origins_[joined(at_, name)] = node->where;
    return node->kind == Node::Kind::null ? nullptr : node;
  }

  static bool agrees(Node const& node, int allowed) {
    auto const number = node.kind == Node::Kind::plain ? parse_number(node.text) : Number{};
    if (auto const* whole = std::get_if<std::int64_t>(&number)) return *whole == allowed;
    auto const* real = std::get_if<double>(&number);
    return real != nullptr && *real == allowed;
  }
  static bool agrees(Node const& node, bool allowed) {
    auto const& text = node.text;
    if (allowed) return text == "true" || text == "True" || text == "TRUE";
    return text == "false" || text == "False" || text == "FALSE";
  }
  static bool agrees(Node const& node, char const* allowed) { return node.text == allowed; }
  static bool agrees(Node const&, std::nullptr_t) { return false; }

  Node const* section_;
  std::string at_;
  std::map<std::string, Where, std::less<>> origins_;
};

}  // namespace detail

/// Turns a tree into a configuration: interpolations resolved, every key known and of its type and
/// range, and nothing asked for that is not compiled in.
/// @throws ConfigError with `FILE:LINE: sentence`
inline LoadedConfig bind_config(Node const& tree, Broken rules = Broken::refuse) {
  Node const root = interpolate(tree);
  if (root.kind == Node::Kind::null) refuse(root.where, "the configuration is empty");
  if (root.kind != Node::Kind::map)
    refuse(root.where, "the configuration is " + shown(root) + ", but keys are wanted");
  LoadedConfig out;
  static detail::KeyCheck const known;
  known.run(root, "", out.ignored);
  detail::Binder binder(root);
  describe(binder, out.config);
  for (auto const& [path, text] : complaints(out.config)) {
    auto const where = binder.where(path, root);
    if (rules == Broken::refuse) refuse(where, path + " " + text);
    out.broken.push_back(where.text() + ": " + path + " " + text);
  }
  return out;
}

/// Loads a YAML text with `key.path=value` overrides; `name` stands for the file in sentences.
/// @throws ConfigError with `FILE:LINE: sentence`, or `command line: sentence` for an override
inline LoadedConfig load_config_text(std::string const& text, std::string const& name,
                                     std::span<std::string const> overrides = {},
                                     Broken rules = Broken::refuse) {
  Node tree = parse_yaml(text, name);
  for (auto const& argument : overrides) {
    auto const [path, value] = parse_override(argument);
    Node node = parse_yaml(value, "command line");
    forget_lines(node);
    set_at(tree, path, std::move(node));
  }
  return bind_config(tree, rules);
}

/// Loads a YAML file with `key.path=value` overrides.
/// @throws IoError where the file cannot be read, ConfigError where it is not a configuration
inline LoadedConfig load_config_file(std::string const& path,
                                     std::span<std::string const> overrides = {},
                                     Broken rules = Broken::refuse) {
  return load_config_text(read_yaml_text(path), path, overrides, rules);
}

/// Loads a YAML file with `key.path=value` overrides, without the list of ignored keys.
inline TrainingConfig load_config(std::string const& path,
                                  std::span<std::string const> overrides = {}) {
  return load_config_file(path, overrides).config;
}

/// One line that names the keys without effect, or nothing.
inline std::string ignored_line(std::vector<std::string> const& ignored) {
  std::string out;
  for (auto const& path : ignored) out += (out.empty() ? "" : ", ") + path;
  return out.empty() ? out : "without effect here: " + out;
}

}  // namespace nxd
