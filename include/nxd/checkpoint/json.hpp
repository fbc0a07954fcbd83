// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <nlohmann/json.hpp>

#include <nxd/core/error.hpp>

namespace nxd {

/// A value of a JSON text, read strictly: no duplicate keys, no guessing between types.
struct Json {
  using Array = std::vector<Json>;
  using Object = std::map<std::string, Json>;

  std::variant<std::nullptr_t, bool, std::int64_t, double, std::string, Array, Object> value;

  Json() : value(nullptr) {}
  Json(bool b) : value(b) {}                      // NOLINT(*-explicit-*)
  Json(std::int64_t i) : value(i) {}              // NOLINT(*-explicit-*)
  Json(double d) : value(d) {}                    // NOLINT(*-explicit-*)
  Json(std::string s) : value(std::move(s)) {}    // NOLINT(*-explicit-*)
  Json(char const* s) : value(std::string(s)) {}  // NOLINT(*-explicit-*)
  Json(Array a) : value(std::move(a)) {}          // NOLINT(*-explicit-*)
  Json(Object o) : value(std::move(o)) {}         // NOLINT(*-explicit-*)
  explicit Json(std::vector<std::int64_t> const& numbers)
      : value(Array(numbers.begin(), numbers.end())) {}
};

/// How much a JSON text may ask for.
struct JsonLimits {
  std::size_t bytes = std::size_t{256} << 20;
  std::size_t depth = 64;
};

namespace detail {

/// A key as a sentence may show it: short, and of plain text.
inline std::string shown_key(std::string_view key) {
  std::string shown(key.substr(0, 40));
  for (char& c : shown)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  while (key.size() > 40 && !shown.empty() &&
         (static_cast<unsigned char>(key[shown.size()]) >> 6) == 2)
    shown.pop_back();  // no half of a character
  return key.size() > 40 ? shown + "..." : shown;
}

/// Builds a `Json` from the events of the parser, and stops it at the first thing that is not
/// allowed.
class JsonBuilder : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit JsonBuilder(std::size_t depth) : depth_(depth) {}

  Json take() { return std::move(root_); }
  std::string const& mistake() const { return mistake_; }

  bool null() override { return put(Json()); }
  bool boolean(bool b) override { return put(Json(b)); }
  bool number_integer(number_integer_t i) override {
    if (i == 0) return put(Json(-0.0));  // "-0", which no integer is
    return put(Json(std::int64_t{i}));
  }
  bool number_unsigned(number_unsigned_t u) override {
    if (u > INT64_MAX) return put(Json(static_cast<double>(u)));
    return put(Json(static_cast<std::int64_t>(u)));
  }
  bool number_float(number_float_t d, string_t const&) override { return put(Json(double{d})); }
  bool string(string_t& s) override {
    if (s.find('\0') != std::string::npos) return refuse("a text with a NUL");
    return put(Json(std::move(s)));
  }
  bool binary(binary_t&) override { return refuse("binary data"); }
  bool start_object(std::size_t) override { return open(Json(Json::Object{})); }
  bool start_array(std::size_t) override { return open(Json(Json::Array{})); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& k) override {
    if (k.find('\0') != std::string::npos) return refuse("a key with a NUL");
    auto& object = std::get<Json::Object>(open_.back()->value);
    if (object.contains(k)) return refuse("the key '" + shown_key(k) + "' twice");
    key_ = std::move(k);
    return true;
  }
  bool parse_error(std::size_t at, std::string const&, nlohmann::json::exception const&) override {
    return refuse("a mistake at byte " + std::to_string(at));
  }

 private:
  bool refuse(std::string what) {
    mistake_ = std::move(what);
    if (auto const at = place(); !at.empty()) mistake_ += ", in " + at;
    return false;
  }
  /// Where the innermost value stands that is open: "a.b[3]".
  std::string place() const {
    std::string path;
    for (std::size_t i = 1; i < open_.size(); ++i) {
      auto const& outer = open_[i - 1]->value;
      if (auto const* array = std::get_if<Json::Array>(&outer))
        path += "[" + std::to_string(array->size() - 1) + "]";
      else
        for (auto const& [key, value] : std::get<Json::Object>(outer))
          if (&value == open_[i]) path += (path.empty() ? "" : ".") + shown_key(key);
    }
    return path;
  }
  Json* place(Json value) {
    if (open_.empty()) return &(root_ = std::move(value));
    if (auto* array = std::get_if<Json::Array>(&open_.back()->value))
      return &array->emplace_back(std::move(value));
    auto& object = std::get<Json::Object>(open_.back()->value);
    return &(object[std::move(key_)] = std::move(value));
  }
  bool put(Json value) { return place(std::move(value)) != nullptr; }
  bool open(Json value) {
    if (open_.size() >= depth_) return refuse("more than " + std::to_string(depth_) + " levels");
    open_.push_back(place(std::move(value)));
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  Json root_;
  std::vector<Json*> open_;  // none of them moves while it is open
  std::string key_;
  std::string mistake_;
  std::size_t depth_;
};

inline void add_quoted(std::string& out, std::string_view s) {
  out += '"';
  for (char const c : s) {
    auto const code = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\')
      (out += '\\') += c;
    else if (code < 0x20)
      (((out += "\\u00") += "0123456789abcdef"[code >> 4]) += "0123456789abcdef"[code & 15]);
    else
      out += c;
  }
  out += '"';
}

struct JsonPrinter {
  std::string& out;

  void operator()(std::nullptr_t) { out += "null"; }
  void operator()(bool b) { out += b ? "true" : "false"; }
  void operator()(std::int64_t i) { out += std::to_string(i); }
  void operator()(double d) {
    if (!std::isfinite(d)) return operator()(nullptr);
    std::array<char, 32> digits{};
    auto const end = std::to_chars(digits.data(), digits.data() + digits.size(), d).ptr;
    std::string_view const shortest(digits.data(), end);
    out += shortest;
    if (shortest.find_first_of(".e") == shortest.npos) out += ".0";  // it stays no integer
  }
  void operator()(std::string const& s) { add_quoted(out, s); }
  void operator()(Json::Array const& a) {
    out += '[';
    for (std::size_t i = 0; i < a.size(); ++i) {
      if (i > 0) out += ',';
      std::visit(*this, a[i].value);
    }
    out += ']';
  }
  void operator()(Json::Object const& o) {
    out += '{';
    for (auto at = o.begin(); at != o.end(); ++at) {
      if (at != o.begin()) out += ",\n";
      add_quoted(out, at->first);
      out += ':';
      std::visit(*this, at->second.value);
    }
    out += '}';
  }
};

}  // namespace detail

/// The value that a JSON text stands for. @throws CorruptInput naming `file` if it is no JSON, is
/// too long, too deep, has a key twice or a NUL.
inline Json parse_json(std::string_view text, std::string const& file, JsonLimits limits = {}) {
  if (text.size() > limits.bytes)
    throw CorruptInput(file + ": has " + std::to_string(text.size()) +
                       " bytes of JSON, more than the " + std::to_string(limits.bytes) +
                       " allowed");
  // The parser would take a NUL for the end of the text, whatever follows.
  if (auto const nul = text.find('\0'); nul != text.npos)
    throw CorruptInput(file + ": its JSON has a NUL at byte " + std::to_string(nul + 1));
  detail::JsonBuilder builder(limits.depth);
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &builder))
    throw CorruptInput(file + ": its JSON has " + builder.mistake());
  return builder.take();
}

/// The JSON text of a value; keys in the order of their bytes.
inline std::string to_text(Json const& json) {
  std::string out;
  std::visit(detail::JsonPrinter{out}, json.value);
  return out;
}

/// A value and where it stands, for messages. All getters are strict. @throws CorruptInput naming
/// the place if a value is missing or of another type.
class JsonView {
 public:
  JsonView(Json const& json, std::string where) : json_(&json), where_(std::move(where)) {}

  std::string const& where() const { return where_; }
  Json::Object const& object() const { return as<Json::Object>("an object"); }
  Json::Array const& array() const { return as<Json::Array>("an array"); }
  std::string const& string() const { return as<std::string>("a text"); }
  bool boolean() const { return as<bool>("true or false"); }

  /// A number, whole or not.
  double number() const {
    if (auto const* i = std::get_if<std::int64_t>(&json_->value)) return static_cast<double>(*i);
    return as<double>("a number");
  }
  bool is_null() const { return std::holds_alternative<std::nullptr_t>(json_->value); }

  /// An integer that is not negative; from 2^53 on it stands as a text.
  std::int64_t count() const {
    constexpr auto exact = std::int64_t{1} << 53;
    if (auto const* i = std::get_if<std::int64_t>(&json_->value); i && *i >= 0 && *i < exact)
      return *i;
    if (auto const* s = std::get_if<std::string>(&json_->value); s && is_number(*s)) {
      std::int64_t value = 0;
      for (char const c : *s)
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, c - '0', &value))
          refuse("an integer below 2^63");
      if (value >= exact) return value;
    }
    refuse("an integer that is not negative");
  }
  std::vector<std::int64_t> counts() const {
    std::vector<std::int64_t> all;
    for (auto const& element : array()) all.push_back(JsonView(element, where_).count());
    return all;
  }

  bool has(std::string const& key) const { return object().contains(key); }
  JsonView operator[](std::string const& key) const {
    auto const& all = object();
    auto const found = all.find(key);
    if (found == all.end()) throw CorruptInput(where_ + ": has no '" + key + "'");
    return {found->second, where_ + ": " + key};
  }

  [[noreturn]] void refuse(std::string const& wanted) const {
    throw CorruptInput(where_ + ": is not " + wanted);
  }

 private:
  static bool is_number(std::string const& s) {
    return !s.empty() && s[0] != '0' && s.find_first_not_of("0123456789") == std::string::npos;
  }
  template <class T> T const& as(char const* what) const {
    if (auto const* found = std::get_if<T>(&json_->value)) return *found;
    refuse(what);
  }

  Json const* json_;
  std::string where_;
};

/// An integer as our files hold it: a text from 2^53 on.
inline Json count_json(std::int64_t value) {
  if (value >= std::int64_t{1} << 53) return Json(std::to_string(value));
  return Json(value);
}

}  // namespace nxd
