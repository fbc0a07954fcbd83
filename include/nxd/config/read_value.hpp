// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <nxd/config/nearest.hpp>
#include <nxd/config/node.hpp>
#include <nxd/config/number.hpp>
#include <nxd/train/config_text.hpp>
#include <nxd/train/limit.hpp>

namespace nxd::detail {

/// A value on its way into a field: the key's path is for sentences.
struct Reading {
  std::string path;
  Node const& node;
  Limit const& limit;

  [[noreturn]] void wrong(std::string const& rest) const {
    refuse(node.where, path + " is " + shown(node) + ", " + rest);
  }
  [[noreturn]] void wanted(std::string const& type) const {
    if (node.kind == Node::Kind::null) wrong("but " + type + " is wanted; write one");
    wrong("but " + type + " is wanted");
  }
};

inline std::optional<double> as_number(Reading const& r, std::string const& type) {
  if (r.node.kind != Node::Kind::plain) {
    auto const inner = r.node.kind == Node::Kind::quoted ? parse_number(r.node.text) : Number{};
    if (std::holds_alternative<NotANumber>(inner)) r.wanted(type);
    r.wrong("but " + type + " is wanted; take the quotes away");
  }
  auto const number = parse_number(r.node.text);
  if (auto const* none = std::get_if<NotANumber>(&number)) {
    if (none->reason.empty()) r.wanted(type);
    r.wrong(none->reason);
  }
  if (auto const* whole = std::get_if<std::int64_t>(&number)) return static_cast<double>(*whole);
  return std::get<double>(number);
}

inline void check_range(Reading const& r, double value) {
  if (r.limit.refuses(value)) r.wrong("but it must be " + r.limit.wanted);
}

inline void read(Reading const& r, double& field) {
  field = *as_number(r, "a number");
  check_range(r, field);
}

inline void read(Reading const& r, std::int64_t& field) {
  (void)as_number(r, "a whole number");
  auto const number = parse_number(r.node.text);
  if (std::holds_alternative<double>(number)) r.wanted("a whole number");
  field = std::get<std::int64_t>(number);
  check_range(r, static_cast<double>(field));
}

inline void read(Reading const& r, bool& field) {
  auto const& text = r.node.text;
  bool const plain = r.node.kind == Node::Kind::plain;
  if (plain && (text == "true" || text == "True" || text == "TRUE")) {
    field = true;
    return;
  }
  if (plain && (text == "false" || text == "False" || text == "FALSE")) {
    field = false;
    return;
  }
  for (auto const mend : {"true", "false"}) {
    auto const likely = std::string_view(mend) == "true"
                            ? std::array<std::string_view, 5>{"yes", "on", "y", "1", "true"}
                            : std::array<std::string_view, 5>{"no", "off", "n", "0", "false"};
    std::string low;
    for (char const c : text) low += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    if (r.node.is_scalar() && std::ranges::find(likely, low) != likely.end())
      r.wrong(std::string("but true or false is wanted; write ") + mend);
  }
  r.wanted("true or false");
}

inline void read(Reading const& r, std::string& field) {
  if (!r.node.is_scalar()) r.wanted("a text");
  if (r.limit.refuses(std::string_view(r.node.text)))
    r.wrong("but this program has only " + r.limit.wanted);
  field = r.node.text;
}

template <Spelled E> void read(Reading const& r, E& field) {
  if (!r.node.is_scalar()) r.wanted(type_words(field));
  auto const names = names_of(field);
  std::vector<std::string> known;
  for (std::size_t i = 0; i < names.size(); ++i) {
    known.emplace_back(names[i]);
    if (names[i] == r.node.text) {
      field = static_cast<E>(i);
      return;
    }
  }
  auto const meant = nearest_path(r.node.text, known);
  r.wrong("but it must be " + type_words(field) +
          (meant.empty() ? "" : "; did you mean " + meant + "?"));
}

inline void read(Reading const& r, BatchLimit& field) {
  double const value = *as_number(r, "a number");
  check_range(r, value);
  field = {value, std::holds_alternative<double>(parse_number(r.node.text))};
  if (field.fraction && value > 1)
    r.wrong("but a part of the batches is at most 1.0; write a whole number to count them");
}

inline void read(Reading const& r, std::array<double, 2>& field) {
  if (r.node.kind != Node::Kind::sequence || r.node.items.size() != 2)
    r.wanted("a list of two numbers");
  for (std::size_t i = 0; i < 2; ++i)
    read(Reading{r.path + "[" + std::to_string(i) + "]", r.node.items[i], r.limit}, field[i]);
}

inline void read(Reading const& r, std::vector<WeightedPrefix>& field) {
  field.clear();
  if (r.node.is_scalar()) {
    field.push_back({1, r.node.text});
    return;
  }
  auto const& items = r.node.items;
  if (items.empty() || (items.size() > 1 && items.size() % 2 != 0))
    r.wanted("a text or a list [weight, text, ...]");
  Limit const no_limit = any();
  for (std::size_t i = 0; i < items.size(); ++i) {
    auto const path = r.path + "[" + std::to_string(i) + "]";
    if (items.size() > 1 && i % 2 == 0)
      read(Reading{path, items[i], r.limit}, field.emplace_back().weight);
    else
      read(Reading{path, items[i], no_limit},
           items.size() > 1 ? field.back().prefix : field.emplace_back().prefix);
  }
}

inline void read(Reading const& r, std::vector<std::string>& field) {
  field.clear();
  if (r.node.kind != Node::Kind::sequence) r.wanted("a list of texts");
  for (std::size_t i = 0; i < r.node.items.size(); ++i)
    read(Reading{r.path + "[" + std::to_string(i) + "]", r.node.items[i], r.limit},
         field.emplace_back());
}

/// A node as JSON text; numbers and switches keep their type.
inline std::string as_json(Node const& node) {
  std::string out;
  switch (node.kind) {
    case Node::Kind::null: return "null";
    case Node::Kind::quoted: return in_quotes(node.text);
    case Node::Kind::plain: {
      auto const number = parse_number(node.text);
      if (auto const* whole = std::get_if<std::int64_t>(&number)) return std::to_string(*whole);
      if (auto const* real = std::get_if<double>(&number)) return written(*real);
      if (node.text == "true" || node.text == "false") return node.text;
      return in_quotes(node.text);
    }
    case Node::Kind::sequence:
      for (auto const& item : node.items) out += (out.empty() ? "[" : ", ") + as_json(item);
      return out.empty() ? "[]" : out + "]";
    case Node::Kind::map:
      for (auto const& [name, value] : node.keys)
        out += (out.empty() ? "{" : ", ") + in_quotes(name) + ": " + as_json(value);
      return out.empty() ? "{}" : out + "}";
  }
  return out;
}

inline void read(Reading const& r, ModelConfigSource& field) {
  if (r.node.kind == Node::Kind::map)
    field = {"", as_json(r.node)};
  else if (r.node.is_scalar())
    field = {r.node.text, ""};
  else
    r.wanted("a text or a map");
}

template <class T> void read(Reading const& r, std::optional<T>& field) {
  read(r, field.emplace());
}

}  // namespace nxd::detail
