// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include <nxd/checkpoint/convert.hpp>
#include <nxd/checkpoint/json.hpp>
#include <nxd/checkpoint/piece.hpp>
#include <nxd/checkpoint/safetensors.hpp>
#include <nxd/core/error.hpp>

namespace nxd::test {

/// A directory of its own, gone with the object.
struct Folder {
  std::filesystem::path path;

  Folder() {
    std::string name = std::filesystem::temp_directory_path() / "nxd-reference-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) throw IoError(name + ": cannot be made");
    path = name;
  }
  Folder(Folder const&) = delete;
  Folder& operator=(Folder const&) = delete;
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  std::string operator/(std::string const& name) const { return path / name; }
};

/// A file of this folder of the sources.
inline std::string source(std::string const& name) {
  auto const* const root = std::getenv("NXD_SOURCE_DIR");
  std::filesystem::path const here(__FILE__);
  return (root != nullptr ? std::filesystem::path(root) / "tests/reference" : here.parent_path()) /
         name;
}

inline std::string read_file(std::string const& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw IoError(path + ": cannot be read");
  return {std::istreambuf_iterator<char>(file), {}};
}
inline void write_file(std::string const& path, std::string const& bytes) {
  if (!(std::ofstream(path, std::ios::binary) << bytes))
    throw IoError(path + ": cannot be written");
}

/// A Python that imports these modules; none: empty. NXD_PYTHON names the one to ask.
inline std::string python_with(std::string const& modules) {
  auto const* const own = std::getenv("NXD_PYTHON");
  auto const asked = own != nullptr ? std::vector<std::string>{own}
                                    : std::vector<std::string>{"/usr/bin/python3", "python3"};
  for (auto const& python : asked)
    if (std::system((python + " -c 'import " + modules + "' > /dev/null 2>&1").c_str()) == 0)
      return python;
  return {};
}

/// Runs a script of this folder. @throws IoError if it fails; why, it says itself
inline void run_python(std::string const& python, std::string const& script,
                       std::vector<std::string> const& arguments) {
  auto command = python + " -B '" + source(script) + "'";
  for (auto const& argument : arguments) command += " '" + argument + "'";
  if (std::system(command.c_str()) != 0) throw IoError(command + ": has failed");
}

/// A tensor, whatever its file or memory stores it as.
struct Array {
  std::vector<std::int64_t> shape;
  std::vector<double> elements;
};
using Arrays = std::map<std::string, Array>;

/// Puts the elements of a piece where they belong in the whole tensor.
inline void add_piece(Arrays& arrays, std::string const& prefix, Piece const& piece) {
  auto& array = arrays[prefix + piece.name];
  array.shape = piece.shape;
  array.elements.resize(static_cast<std::size_t>(volume(whole(piece.shape))), std::nan(""));
  copy_common(piece.box, piece.bytes, piece.dtype, whole(piece.shape),
              std::as_writable_bytes(std::span(array.elements)), DType::f64);
}

/// All tensors of floats or of i32 of a safetensors file.
inline Arrays read_arrays(std::string const& path) {
  auto const bytes = read_file(path);
  auto const read = [&](std::int64_t at, std::span<std::byte> to) {
    std::memcpy(to.data(), bytes.data() + at, to.size());
  };
  Arrays arrays;
  for (auto const& entry : read_safetensors_header(std::ssize(bytes), read, path).entries) {
    auto& array = arrays[entry.name];
    auto const count = volume(whole(entry.shape));
    array.shape = entry.shape;
    array.elements.resize(static_cast<std::size_t>(count));
    auto const* const from = bytes.data() + entry.offset;
    if (entry.dtype != DType::i32) {
      convert(reinterpret_cast<std::byte const*>(from), entry.dtype,
              reinterpret_cast<std::byte*>(array.elements.data()), DType::f64, count);
      continue;
    }
    for (std::int64_t i = 0; i < count; ++i) {
      std::int32_t value;
      std::memcpy(&value, from + 4 * i, 4);
      array.elements[static_cast<std::size_t>(i)] = value;
    }
  }
  return arrays;
}

/// Writes tensors of i32.
inline void write_integers(std::string const& path, Arrays const& arrays) {
  std::vector<SafetensorsEntry> entries;
  for (auto const& [name, array] : arrays) entries.push_back({name, DType::i32, array.shape});
  auto bytes = safetensors_header(entries);
  for (auto const& [name, array] : arrays)
    for (auto const element : array.elements) {
      auto const value = static_cast<std::int32_t>(element);
      bytes.append(reinterpret_cast<char const*>(&value), sizeof value);
    }
  write_file(path, bytes);
}

/// The norm of a tensor, and its sums under 16 fixed choices of signs: a digest, which tells how
/// far another tensor is.
inline std::array<double, 17> digest_of(std::vector<double> const& elements) {
  std::array<double, 17> digest{};
  for (std::size_t i = 0; i < elements.size(); ++i) {
    auto z = (i + 1) * 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    z ^= z >> 31;
    digest[0] += elements[i] * elements[i];
    for (std::size_t k = 0; k < 16; ++k)
      digest[k + 1] += (z >> k & 1) != 0 ? -elements[i] : elements[i];
  }
  digest[0] = std::sqrt(digest[0]);
  return digest;
}

/// |a - b| / |b|. Of a digest b, an estimate of it, seldom off by more than a factor of two.
inline double relative_distance(Array const& a, Array const& b) {
  double apart = 0, length = 0;
  if (a.shape == b.shape) {
    for (std::size_t i = 0; i < b.elements.size(); ++i) {
      apart += (a.elements[i] - b.elements[i]) * (a.elements[i] - b.elements[i]);
      length += b.elements[i] * b.elements[i];
    }
    return std::sqrt(apart / length);
  }
  auto const digest = digest_of(a.elements);
  if (b.elements.size() != digest.size()) return INFINITY;
  for (std::size_t k = 1; k < digest.size(); ++k)
    apart += (digest[k] - b.elements[k]) * (digest[k] - b.elements[k]) / 16;
  return std::max(std::sqrt(apart), std::abs(digest[0] - b.elements[0])) / b.elements[0];
}

/// JSON members, those of `over` in place of those of `under`.
inline Json merged(Json const& under, Json const& over) {
  auto all = std::get<Json::Object>(under.value);
  for (auto const& [key, value] : std::get<Json::Object>(over.value)) all[key] = value;
  return all;
}

}  // namespace nxd::test
