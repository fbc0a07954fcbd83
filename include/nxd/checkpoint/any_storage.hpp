// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <nxd/checkpoint/storage.hpp>

#if defined(NXD_WITH_S3)
#include <nxd/checkpoint/s3/storage.hpp>
#endif

namespace nxd {

/// A file of one of several storages.
template <class... F> class FileOf {
 public:
  template <class File> explicit FileOf(File file) : file_(std::move(file)) {}

  void reserve(std::int64_t bytes) {
    std::visit([&](auto& f) { f.reserve(bytes); }, file_);
  }
  void write(std::span<std::byte const> bytes) {
    std::visit([&](auto& f) { f.write(bytes); }, file_);
  }
  void sync() {
    std::visit([](auto& f) { f.sync(); }, file_);
  }
  void close() {
    std::visit([](auto& f) { f.close(); }, file_);
  }
  std::int64_t size() const {
    return std::visit([](auto const& f) { return f.size(); }, file_);
  }
  void read(std::int64_t offset, std::span<std::byte> to) {
    std::visit([&](auto& f) { f.read(offset, to); }, file_);
  }

 private:
  std::variant<F...> file_;
};

/// One of several storages, which one is known when the program runs.
template <Storage... S> class StorageOf {
 public:
  using File = FileOf<typename S::File...>;

  template <Storage Any> explicit StorageOf(Any storage) : storage_(std::move(storage)) {}

  std::string where(std::string const& path) const {
    return std::visit([&](auto const& s) { return s.where(path); }, storage_);
  }
  void make_root() {
    std::visit([](auto& s) { s.make_root(); }, storage_);
  }
  File create(std::string const& path) {
    return std::visit([&](auto& s) { return File(s.create(path)); }, storage_);
  }
  File open(std::string const& path) {
    return std::visit([&](auto& s) { return File(s.open(path)); }, storage_);
  }
  void make_directory(std::string const& path) {
    std::visit([&](auto& s) { s.make_directory(path); }, storage_);
  }
  std::vector<DirectoryEntry> list(std::string const& path) {
    return std::visit([&](auto& s) { return s.list(path); }, storage_);
  }
  void rename(std::string const& from, std::string const& to) {
    std::visit([&](auto& s) { s.rename(from, to); }, storage_);
  }
  void sync_directory(std::string const& path) {
    std::visit([&](auto& s) { s.sync_directory(path); }, storage_);
  }
  void remove(std::string const& path) {
    std::visit([&](auto& s) { s.remove(path); }, storage_);
  }
  std::int64_t free_bytes() {
    return std::visit([](auto& s) { return s.free_bytes(); }, storage_);
  }

 private:
  std::variant<S...> storage_;
};

/// A directory of checkpoints wherever it is: in a file system, or in a bucket ("s3://...").
#if defined(NXD_WITH_S3)
using AnyStorage = StorageOf<PosixStorage, S3Storage>;
#else
using AnyStorage = StorageOf<PosixStorage>;
#endif

/// The name of a place is one in a bucket.
inline bool is_in_bucket(std::string_view place) { return place.starts_with("s3://"); }

/// The storage of that name. @throws ConfigError if the name is wrong, no credentials are found, or
/// this program was built without S3
inline AnyStorage open_storage(std::string const& place) {
  if (!is_in_bucket(place)) return AnyStorage(PosixStorage(place));
#if defined(NXD_WITH_S3)
  return AnyStorage(S3Storage(place));
#else
  throw ConfigError(place +
                    ": this program was built without S3; install libcurl4-openssl-dev and "
                    "libssl-dev, and build it with -D NXD_WITH_S3=ON");
#endif
}

}  // namespace nxd
