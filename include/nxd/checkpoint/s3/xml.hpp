// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nxd/core/error.hpp>

namespace nxd {

/// An element of what an S3 server answers: its name, its text, and what is in it. Attributes do
/// not matter there and are passed over.
struct XmlElement {
  std::string name;
  std::string text{};
  std::vector<XmlElement> children{};

  /// The text of the first child of that name; empty if there is none.
  std::string operator[](std::string_view child) const {
    for (auto const& c : children)
      if (c.name == child) return c.text;
    return {};
  }
};

namespace detail {

/// Reads one document. Refuses what no S3 server sends: document types, other entities, depth.
class XmlReader {
 public:
  XmlReader(std::string_view text, std::string const& where) : rest_(text), where_(where) {}

  XmlElement document() {
    skip_between();
    auto root = element(0);
    skip_between();
    if (!rest_.empty()) refuse("something follows its root");
    return root;
  }

 private:
  static constexpr int deepest = 16;

  [[noreturn]] void refuse(char const* what) const {
    throw CorruptInput(where_ + ": the server's answer is no XML that can be read: " + what);
  }

  bool take(std::string_view token) {
    if (!rest_.starts_with(token)) return false;
    rest_.remove_prefix(token.size());
    return true;
  }

  /// What stands before `end`; both are taken.
  std::string_view until(std::string_view end) {
    auto const at = rest_.find(end);
    if (at == std::string_view::npos) refuse("it ends too early");
    auto const found = rest_.substr(0, at);
    rest_.remove_prefix(at + end.size());
    return found;
  }

  void skip_between() {
    for (;;) {
      auto const at = rest_.find_first_not_of(" \t\r\n");
      rest_.remove_prefix(at == std::string_view::npos ? rest_.size() : at);
      if (take("<?"))
        until("?>");
      else if (take("<!--"))
        until("-->");
      else
        return;
    }
  }

  static constexpr bool is_name(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.' || c == ':';
  }

  std::string name() {
    std::size_t length = 0;
    while (length < rest_.size() && is_name(rest_[length])) ++length;
    if (length == 0) refuse("an element has no name");
    std::string const found(rest_.substr(0, length));
    rest_.remove_prefix(length);
    return found;
  }

  /// The rest of a tag. @return whether its element ends with it
  bool attributes() {
    for (char quote = 0; !rest_.empty(); rest_.remove_prefix(1)) {
      auto const c = rest_[0];
      if (quote != 0) {
        if (c == quote) quote = 0;
      } else if (c == '"' || c == '\'') {
        quote = c;
      } else if (c == '<') {
        refuse("a tag does not end");
      } else if (take("/>")) {
        return true;
      } else if (take(">")) {
        return false;
      }
    }
    refuse("a tag does not end");
  }

  XmlElement element(int depth) {
    if (depth > deepest) refuse("it is too deep");
    if (!take("<")) refuse("no element where one is expected");
    XmlElement found{name()};
    if (attributes()) return found;
    for (;;) {
      auto const at = rest_.find('<');
      if (at == std::string_view::npos) refuse("it ends too early");
      decode(rest_.substr(0, at), found.text);
      rest_.remove_prefix(at);
      if (take("</")) break;
      if (take("<!--"))
        until("-->");
      else if (take("<![CDATA["))
        found.text += until("]]>");
      else
        found.children.push_back(element(depth + 1));
    }
    if (name() != found.name) refuse("elements overlap");
    if (until(">").find_first_not_of(" \t\r\n") != std::string_view::npos)
      refuse("an end has attributes");
    return found;
  }

  void decode(std::string_view text, std::string& out) const {
    for (auto at = text.find('&'); at != std::string_view::npos; at = text.find('&')) {
      out += text.substr(0, at);
      auto const end = text.find(';', at);
      if (end == std::string_view::npos) refuse("an entity does not end");
      entity(text.substr(at + 1, end - at - 1), out);
      text.remove_prefix(end + 1);
    }
    out += text;
  }

  void entity(std::string_view name, std::string& out) const {
    constexpr std::pair<std::string_view, char> known[] = {
        {"amp", '&'}, {"lt", '<'}, {"gt", '>'}, {"quot", '"'}, {"apos", '\''}};
    for (auto const& [word, c] : known)
      if (name == word) return out.push_back(c);
    if (!name.starts_with('#') || name.size() < 2 || name.size() > 8) refuse("an unknown entity");
    bool const sixteen = name[1] == 'x';
    std::uint32_t code = 0;
    for (auto const c : name.substr(sixteen ? 2 : 1)) {
      auto const digit = c >= '0' && c <= '9'              ? c - '0'
                         : sixteen && c >= 'a' && c <= 'f' ? c - 'a' + 10
                         : sixteen && c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                           : -1;
      if (digit < 0) refuse("an unknown entity");
      code = code * (sixteen ? 16 : 10) + static_cast<std::uint32_t>(digit);
    }
    append_utf8(code, out);
  }

  void append_utf8(std::uint32_t code, std::string& out) const {
    if (code == 0 || code > 0x10ffff) refuse("an unknown character");
    auto const put = [&](std::uint32_t byte) { out += static_cast<char>(byte); };
    if (code < 0x80) return put(code);
    if (code < 0x800) return put(0xc0 | code >> 6), put(0x80 | (code & 63));
    if (code < 0x10000)
      return put(0xe0 | code >> 12), put(0x80 | (code >> 6 & 63)), put(0x80 | (code & 63));
    put(0xf0 | code >> 18), put(0x80 | (code >> 12 & 63)), put(0x80 | (code >> 6 & 63));
    put(0x80 | (code & 63));
  }

  std::string_view rest_;
  std::string const& where_;
};

}  // namespace detail

/// The root of an XML document, as S3 servers write them. @throws CorruptInput naming `where`
inline XmlElement parse_xml(std::string_view text, std::string const& where) {
  return detail::XmlReader(text, where).document();
}

/// A text that can stand in an element.
inline std::string xml_escaped(std::string_view text) {
  std::string escaped;
  for (char const c : text) {
    if (c == '&')
      escaped += "&amp;";
    else if (c == '<')
      escaped += "&lt;";
    else if (c == '>')
      escaped += "&gt;";
    else
      escaped += c;
  }
  return escaped;
}

}  // namespace nxd
