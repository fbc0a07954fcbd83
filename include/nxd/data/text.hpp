// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <glob.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <nxd/core/interrupt.hpp>
#include <nxd/data/mapped_file.hpp>
#include <nxd/data/tokenizer.hpp>

namespace nxd {

namespace detail {

/// Looks like text: no zero byte where it begins.
inline bool is_text(std::span<std::byte const> bytes) {
  auto const head = bytes.first(std::min<std::size_t>(bytes.size(), 4096));
  return std::ranges::find(head, std::byte{0}) == head.end();
}

inline void add_files(std::vector<std::string>& files, std::filesystem::path const& path) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) {
    files.push_back(path.string());
    return;
  }
  auto const quiet = fs::directory_options::skip_permission_denied;
  for (auto it = fs::recursive_directory_iterator(path, quiet, ignored);
       it != fs::recursive_directory_iterator(); it.increment(ignored))
    if (it->is_regular_file(ignored)) files.push_back(it->path().string());
}

}  // namespace detail

/// The files that a path names, sorted: a file, all files below a folder, or what matches a pattern
/// with `*`, `?` and `[...]`. @throws IoError if there is none.
inline std::vector<std::string> find_files(std::string const& path) {
  std::vector<std::string> files;
  if (path.find_first_of("*?[") == std::string::npos) {
    if (!std::filesystem::exists(path)) throw IoError(path + ": there is no such file or folder");
    detail::add_files(files, path);
  } else {
    glob_t found{};
    if (::glob(path.c_str(), 0, nullptr, &found) == 0)
      for (std::size_t i = 0; i < found.gl_pathc; ++i) detail::add_files(files, found.gl_pathv[i]);
    ::globfree(&found);
  }
  std::ranges::sort(files);
  if (files.empty()) throw IoError(path + ": no file matches");
  return files;
}

/// The tokens of the texts that a path names, one after the other, each ended by `end_of_text`.
/// Files that do not look like text are passed over. At most `max_bytes` bytes are read; 0 means
/// all.
/// @throws IoError if nothing can be read, ConfigError if there is no text
template <Tokenizer T>
std::vector<std::int32_t> read_text(T const& tokenizer, std::string const& path,
                                    std::int64_t max_bytes = 0) {
  std::vector<std::int32_t> tokens;
  auto left = max_bytes > 0 ? static_cast<std::size_t>(max_bytes) : std::size_t{0} - 1;
  for (auto const& name : find_files(path)) {
    Interrupt::poll();
    MappedFile const file(name);
    if (file.bytes().empty() || !detail::is_text(file.bytes())) continue;
    auto const bytes = file.bytes().first(std::min(left, file.bytes().size()));
    left -= bytes.size();
    auto const ids = tokenizer.encode({reinterpret_cast<char const*>(bytes.data()), bytes.size()});
    tokens.insert(tokens.end(), ids.begin(), ids.end());
    tokens.push_back(tokenizer.end_of_text());
    if (left == 0) break;
  }
  if (tokens.empty()) throw ConfigError(path + ": no file there is a text");
  return tokens;
}

}  // namespace nxd
