// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <nxd/config/node.hpp>
#include <nxd/config/number.hpp>
#include <nxd/train/shortest.hpp>

namespace nxd {
namespace detail {

/// Replaces `${...}` in a copy of a tree.
class Interpolator {
 public:
  explicit Interpolator(Node const& root) : root_(root) {}

  Node run() {
    std::vector<std::string> at;
    return resolved(root_, at);
  }

 private:
  using Path = std::vector<std::string>;

  Node resolved(Node const& node, Path& at) {
    if (++count_ > TreeLimits::nodes)
      refuse(node.where, "the interpolations stand for more than 100000 values; write fewer");
    take_room(node, node.text.size());
    if (node.is_scalar())
      return node.text.find("${") == std::string::npos ? node : text_node(node, at);
    Node out;
    out.kind = node.kind;
    out.where = node.where;
    for (std::size_t i = 0; i < node.items.size(); ++i) {
      at.push_back(std::to_string(i));
      out.items.push_back(resolved(node.items[i], at));
      at.pop_back();
    }
    for (auto const& [name, value] : node.keys) {
      take_room(node, name.size());
      at.push_back(name);
      out.keys.push_back({name, resolved(value, at)});
      at.pop_back();
    }
    return out;
  }

  void take_room(Node const& node, std::size_t bytes) {
    bytes_ += bytes;
    if (bytes_ > TreeLimits::all_text_bytes)
      refuse(node.where, "the interpolations stand for more than 8 MiB of text; write less");
  }

  /// A text with interpolations: the value itself where it is nothing but one, else a text.
  Node text_node(Node const& node, Path const& at) {
    std::string_view rest = node.text;
    std::vector<Node> pieces;
    Node out = node;
    out.text.clear();
    bool only_one = true;
    while (!rest.empty()) {
      auto const start = rest.find("${");
      auto const escaped = start != 0 && start != rest.npos && rest[start - 1] == '\\';
      out.text += rest.substr(0, escaped ? start - 1 : start);
      if (start != 0) only_one = false;
      if (start == rest.npos) break;
      if (escaped) {
        out.text += "${";
        rest.remove_prefix(start + 2);
        continue;
      }
      auto const length = closing(node, rest.substr(start + 2));
      Node value = evaluate(node, rest.substr(start + 2, length), at);
      rest.remove_prefix(start + length + 3);
      if (only_one && rest.empty()) return value;
      only_one = false;
      if (!value.is_scalar())
        refuse(node.where, "${...} inside a text gives " + shown(value) + "; it must be a scalar");
      out.text += value.text;
      if (out.text.size() > TreeLimits::text_bytes)
        refuse(node.where, "the interpolated text is longer than 64 KiB; shorten it");
    }
    return out;
  }

  /// Where the brace closes that was opened before `text`.
  static std::size_t closing(Node const& node, std::string_view text) {
    int depth = 1;
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '{') ++depth;
      if (text[i] == '}' && --depth == 0) return i;
    }
    refuse(node.where, "the interpolation ${" + std::string(text) + " has no end; add a }");
  }

  Node evaluate(Node const& node, std::string_view inside, Path const& at) {
    if (++evaluated_ > TreeLimits::interpolations)
      refuse(node.where, "there are more than 10000 interpolations; write fewer");
    if (++depth_ > TreeLimits::depth)
      refuse(node.where, "interpolations lead through more than 64 others; flatten them");
    auto const colon = inside.substr(0, inside.find("${")).find(':');
    Node out = colon == inside.npos ? look_up(node, std::string(inside), at)
                                    : call(node, inside.substr(0, colon),
                                           arguments(node, inside.substr(colon + 1), at));
    --depth_;
    if (out.is_scalar() || out.kind == Node::Kind::null) out.where = node.where;
    return out;
  }

  std::vector<Node> arguments(Node const& node, std::string_view list, Path const& at) {
    std::vector<Node> out;
    int depth = 0;
    std::string current;
    auto const finish = [&] {
      auto const first = current.find_first_not_of(" \t");
      auto const last = current.find_last_not_of(" \t");
      Node argument = plain_at(node);
      argument.text = first == current.npos ? "" : current.substr(first, last - first + 1);
      if (argument.text == "null") argument.kind = Node::Kind::null;
      Path here = at;
      out.push_back(resolved(argument, here));
      current.clear();
    };
    for (char const c : list) {
      depth += (c == '{') - (c == '}');
      if (c == ',' && depth == 0)
        finish();
      else
        current += c;
    }
    finish();
    return out;
  }

  /// An empty text where a node stands.
  static Node plain_at(Node const& node) {
    Node made;
    made.kind = Node::Kind::plain;
    made.where = node.where;
    return made;
  }

  static Node call(Node const& node, std::string_view name, std::vector<Node> const& arguments) {
    if (name == "multiply") return multiply(node, arguments);
    if (name == "oc.env") return environment(node, arguments);
    refuse(node.where,
           "${" + std::string(name) +
               ":...} is not known; there are ${multiply:a,b} and ${oc.env:NAME,default}");
  }

  static Node multiply(Node const& node, std::vector<Node> const& factors) {
    Node out = plain_at(node);
    std::int64_t whole = 1;
    double real = 1;
    bool all_whole = true;
    for (auto const& factor : factors) {
      auto const number = factor.kind == Node::Kind::plain ? parse_number(factor.text) : Number{};
      if (std::holds_alternative<NotANumber>(number))
        refuse(node.where, "${multiply:...} is given " + shown(factor) + ", which is not a number");
      if (auto const* value = std::get_if<std::int64_t>(&number)) {
        if (all_whole && __builtin_mul_overflow(whole, *value, &whole))
          refuse(node.where, "${multiply:...} gives more than 64 bits hold; lower its factors");
        real *= static_cast<double>(*value);
      } else {
        all_whole = false;
        real *= std::get<double>(number);
      }
    }
    out.text = all_whole ? std::to_string(whole) : shortest(real);
    return out;
  }

  static Node environment(Node const& node, std::vector<Node> const& arguments) {
    auto const& name = arguments.front().text;
    if (arguments.size() > 2 || name.empty())
      refuse(node.where, "${oc.env:...} takes a name and a default; write ${oc.env:NAME,default}");
    Node out = plain_at(node);
    if (char const* value = std::getenv(name.c_str())) {
      out.text = value;
      return out;
    }
    if (arguments.size() < 2)
      refuse(node.where, "the environment has no " + name + "; set it, or write ${oc.env:" + name +
                             ",default}");
    return arguments[1];
  }

  /// `a.b` from the root; `.b` beside the key that is being read; each further dot one level up.
  Node look_up(Node const& node, std::string path, Path const& at) {
    auto const said = "${" + path + "}";
    Path target;
    if (path.starts_with('.')) {
      auto const dots = path.find_first_not_of('.');
      if (dots == path.npos || dots > at.size())
        refuse(node.where, said + " leads out of the file; take dots away");
      target.assign(at.begin(), at.end() - static_cast<std::ptrdiff_t>(dots));
      path = path.substr(dots);
    }
    if (path.find_first_of("${} \t") != path.npos)
      refuse(node.where, said + " is not a path; write ${section.key}");
    for (auto& part : path_parts(path)) target.push_back(std::move(part));

    for (auto const& open : open_)
      if (open == target) refuse(node.where, said + " leads back to itself; write the value out");
    open_.push_back(target);
    Node out = value_at(node, target, said);
    open_.pop_back();
    return out;
  }

  /// The value at a path, through whatever interpolations are on the way.
  Node value_at(Node const& node, Path const& target, std::string const& said) {
    Node const* current = &root_;
    std::optional<Node> held;
    Path here;
    for (auto const& part : target) {
      if (!held && current->is_scalar() && current->text.find("${") != std::string::npos) {
        held = resolved(*current, here);
        current = &*held;
      }
      auto const* next =
          current->kind == Node::Kind::sequence ? find_item(*current, part) : current->find(part);
      if (next == nullptr) refuse(node.where, said + " names nothing; check its path");
      current = next;
      here.push_back(part);
    }
    return held ? *current : resolved(*current, here);
  }

  Node const& root_;
  std::vector<Path> open_;
  std::size_t count_ = 0;
  std::size_t depth_ = 0;
  std::size_t evaluated_ = 0;
  std::size_t bytes_ = 0;  ///< of the texts and names that were copied
};

}  // namespace detail

/// A copy of a tree in which every interpolation is replaced:
///
///   ${a.b}               the value at a path from the root
///   ${.b}, ${..b}        beside this key, and one level up for each further dot
///   ${multiply:a,b}      a product
///   ${oc.env:X,default}  an environment variable
///
/// They nest, may stand inside a text, and `\${` is a plain `${`.
/// @throws ConfigError where one names nothing, leads back to itself, or is not known
inline Node interpolate(Node const& root) { return detail::Interpolator(root).run(); }

}  // namespace nxd
