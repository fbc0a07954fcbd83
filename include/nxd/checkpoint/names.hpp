// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <string_view>

#include <nxd/checkpoint/digest.hpp>
#include <nxd/core/error.hpp>

namespace nxd {

/// A name of one file that may come from outside: letters, digits, '.', '_' and '-', at most 128,
/// not beginning with '.', and without "..".
constexpr bool is_safe_name(std::string_view name) {
  if (name.empty() || name.size() > 128 || name[0] == '.') return false;
  if (name.find("..") != std::string_view::npos) return false;
  for (char const c : name) {
    bool const letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (!letter && !(c >= '0' && c <= '9') && c != '.' && c != '_' && c != '-') return false;
  }
  return true;
}

/// A safe name, or two with a '/' between them: what a manifest may name.
constexpr bool is_safe_path(std::string_view path) {
  auto const slash = path.find('/');
  if (slash == std::string_view::npos) return is_safe_name(path);
  return is_safe_name(path.substr(0, slash)) && is_safe_name(path.substr(slash + 1));
}

namespace detail {

[[noreturn]] inline void refuse_name(std::string_view path, std::string const& named_by) {
  throw CorruptInput(named_by + ": names the file '" + std::string(path.substr(0, 200)) +
                     "', which is not a plain name in its own folder");
}

}  // namespace detail

/// @throws CorruptInput naming the file that names another wrongly.
inline void require_safe_name(std::string_view name, std::string const& named_by) {
  if (!is_safe_name(name)) detail::refuse_name(name, named_by);
}
inline void require_safe_path(std::string_view path, std::string const& named_by) {
  if (!is_safe_path(path)) detail::refuse_name(path, named_by);
}

/// An entry of a checkpoint directory: which step it holds, and which save of the directory it was.
struct EntryName {
  std::int64_t step;
  std::int64_t generation;
};

namespace detail {

inline std::string padded(std::int64_t number, std::size_t width) {
  auto digits = std::to_string(number);
  return digits.size() < width ? std::string(width - digits.size(), '0') + digits : digits;
}

inline std::optional<std::int64_t> unpadded(std::string_view digits, std::size_t width) {
  if (digits.size() < width || digits.size() > 18) return {};
  if (digits.size() > width && digits[0] == '0') return {};
  std::int64_t value = 0;
  for (char const c : digits) {
    if (c < '0' || c > '9') return {};
    value = value * 10 + (c - '0');
  }
  return value;
}

}  // namespace detail

/// "step-000000001000.g000017".
inline std::string text(EntryName const& entry) {
  return "step-" + detail::padded(entry.step, 12) + ".g" + detail::padded(entry.generation, 6);
}

/// The entry that a directory's name tells of, if it is one that `text` writes.
inline std::optional<EntryName> entry_from(std::string_view name) {
  constexpr std::string_view prefix = "step-";
  if (name.substr(0, prefix.size()) != prefix) return {};
  auto const dot = name.find(".g");
  if (dot == std::string_view::npos) return {};
  auto const step = detail::unpadded(name.substr(prefix.size(), dot - prefix.size()), 12);
  auto const generation = detail::unpadded(name.substr(dot + 2), 6);
  if (!step || !generation) return {};
  return EntryName{*step, *generation};
}

/// 128 random bits as text: a name that no other save has.
inline std::string unique_id() {
  std::random_device device;
  std::string id;
  for (int i = 0; i < 4; ++i) id += hex(device(), 8);
  return id;
}

}  // namespace nxd
