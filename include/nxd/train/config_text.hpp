// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nxd/core/spelling.hpp>
#include <nxd/train/config_keys.hpp>
#include <nxd/train/shortest.hpp>

namespace nxd {
/// What a configuration may do with a key.
enum class KeyKind : std::uint8_t { value, required, only, section, ignored, refused };

/// One row of the table of keys.
struct KeyInfo {
  std::string path;
  KeyKind kind = KeyKind::value;
  std::string type;      ///< in words
  std::string fallback;  ///< the default, as a file would write it
  std::string meaning;   ///< or the reason why it is refused
};

namespace detail {

inline std::string in_quotes(std::string_view text) {
  std::string out = "\"";
  for (char const c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (c == '\n')
      out += "\\n";
    else if (c == '\t')
      out += "\\t";
    else if (static_cast<unsigned char>(c) < 0x20) {
      std::array<char, 8> hex{};
      std::snprintf(hex.data(), hex.size(), "\\u%04x", static_cast<unsigned>(c));
      out += hex.data();
    } else
      out += c;
  }
  return out + '"';
}

// How a file writes a value.
inline std::string written(bool v) { return v ? "true" : "false"; }
inline std::string written(int v) { return std::to_string(v); }
inline std::string written(std::int64_t v) { return std::to_string(v); }
inline std::string written(std::string const& v) { return in_quotes(v); }
inline std::string written(char const* v) { return v; }
inline std::string written(std::nullptr_t) { return "null"; }
inline std::string written(double v) {
  auto text = shortest(v);
  return text.find_first_of(".e") == std::string::npos ? text + ".0" : text;
}
inline std::string written(BatchLimit const& v) {
  return v.fraction ? written(v.value) : written(static_cast<std::int64_t>(v.value));
}
inline std::string written(std::array<double, 2> const& v) {
  return "[" + written(v[0]) + ", " + written(v[1]) + "]";
}
inline std::string written(std::vector<WeightedPrefix> const& v) {
  std::string out;
  for (auto const& [weight, prefix] : v)
    out += (out.empty() ? "[" : ", ") + written(weight) + ", " + in_quotes(prefix);
  return out.empty() ? "null" : out + "]";
}
inline std::string written(std::vector<std::string> const& v) {
  std::string out;
  for (auto const& text : v) out += (out.empty() ? "[" : ", ") + in_quotes(text);
  return out.empty() ? "[]" : out + "]";
}
inline std::string written(ModelConfigSource const& v) {
  return v.inline_json.empty() ? in_quotes(v.path) : v.inline_json;
}
template <Spelled E> std::string written(E v) { return spelling(v); }
template <class T> std::string written(std::optional<T> const& v) {
  return v ? written(*v) : "null";
}

// What a user calls the type of a value.
inline std::string type_words(bool const&) { return "true or false"; }
inline std::string type_words(std::int64_t const&) { return "a whole number"; }
inline std::string type_words(double const&) { return "a number"; }
inline std::string type_words(std::string const&) { return "a text"; }
inline std::string type_words(BatchLimit const&) { return "a number"; }
inline std::string type_words(std::array<double, 2> const&) { return "a list of two numbers"; }
inline std::string type_words(std::vector<WeightedPrefix> const&) {
  return "a text or a list [weight, text, ...]";
}
inline std::string type_words(std::vector<std::string> const&) { return "a list of texts"; }
inline std::string type_words(ModelConfigSource const&) { return "a text or a map"; }
template <Spelled E> std::string type_words(E const& v) {
  std::string out;
  for (auto const name : names_of(v)) out += (out.empty() ? "" : " or ") + std::string(name);
  return out;
}
template <class T> std::string type_words(std::optional<T> const&) { return type_words(T{}); }

inline std::string joined(std::string const& at, std::string_view name) {
  return at.empty() ? std::string(name) : at + "." + std::string(name);
}

/// Lists the rows of the table.
struct Lister {
  std::vector<KeyInfo> rows;
  std::string at;

  void key(std::string_view name, auto& field, Limit const& limit, std::string_view meaning) {
    rows.push_back({joined(at, name), KeyKind::value, words(field, limit), written(field),
                    std::string(meaning)});
  }
  void required(std::string_view name, auto& field, Limit const& limit, std::string_view meaning) {
    rows.push_back(
        {joined(at, name), KeyKind::required, words(field, limit), "", std::string(meaning)});
  }
  void only(std::string_view name, auto value, std::string_view reason) {
    auto const text = written(value);
    rows.push_back({joined(at, name), KeyKind::only, "only " + text, text, std::string(reason)});
  }
  void ignored(std::string_view name) {
    rows.push_back({joined(at, name), KeyKind::ignored, "anything", "", "has no effect here"});
  }
  void refused(std::string_view name, std::string_view reason) {
    rows.push_back({joined(at, name), KeyKind::refused, "nothing", "", std::string(reason)});
  }
  void section(std::string_view name, auto& fields, std::string_view meaning) {
    auto const outer = at;
    at = joined(at, name);
    rows.push_back({at, KeyKind::section, "a section", "", std::string(meaning)});
    describe(*this, fields);
    at = outer;
  }

  static std::string words(auto const& field, Limit const& limit) {
    if (!limit.allowed.empty()) return limit.wanted;
    auto const type = type_words(field);
    return limit.wanted.empty() ? type : type + ", " + limit.wanted;
  }
};

/// Writes the fields as a file would.
struct Writer {
  std::string out;
  std::string indent;

  void key(std::string_view name, auto& field, Limit const&, std::string_view) {
    out += indent + std::string(name) + ": " + written(field) + "\n";
  }
  void required(std::string_view name, auto& field, Limit const& limit, std::string_view meaning) {
    key(name, field, limit, meaning);
  }
  void only(std::string_view, auto, std::string_view) {}
  void ignored(std::string_view) {}
  void refused(std::string_view, std::string_view) {}
  void section(std::string_view, Fusions&, std::string_view) {}
  void section(std::string_view name, auto& fields, std::string_view) {
    out += indent + std::string(name) + ":\n";
    indent += "  ";
    describe(*this, fields);
    indent.resize(indent.size() - 2);
  }
};

}  // namespace detail

/// Every key, in the order of the table.
inline std::vector<KeyInfo> key_table() {
  TrainingConfig defaults;
  detail::Lister lister;
  describe(lister, defaults);
  return lister.rows;
}

/// The table of keys as text: path, type, default, meaning; what has no effect is named at the end.
inline std::string help_keys() {
  std::string out;
  std::string idle;
  for (auto const& row : key_table()) {
    if (row.kind == KeyKind::ignored)
      idle += (idle.empty() ? "" : ", ") + row.path;
    else if (row.kind == KeyKind::section)
      out += "\n" + row.path + "  (" + row.meaning + ")\n";
    else
      out += row.path + ": " + row.type +
             (row.kind == KeyKind::required ? "; required"
              : row.kind == KeyKind::value  ? "; default " + row.fallback
                                            : "") +
             "\n    " + row.meaning + "\n";
  }
  return out + "\nAccepted, and without effect here: " + idle + "\n";
}

/// The configuration as canonical YAML: every key in the order of the table, nothing left to
/// resolve. Loading it gives the same configuration.
inline std::string to_yaml(TrainingConfig config) {
  detail::Writer writer;
  describe(writer, config);
  return writer.out;
}

/// 64-bit FNV-1a of the canonical text: equal on all ranks, or they do not train the same thing.
inline std::uint64_t fingerprint(TrainingConfig const& config) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (char const c : to_yaml(config)) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 0x100000001b3;
  }
  return hash;
}

}  // namespace nxd
