// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <span>
#include <string>
#include <utility>

#include <nxd/core/error.hpp>

namespace nxd {

/// A file in memory, read only, page by page as it is looked at. @throws IoError naming the path.
class MappedFile {
 public:
  explicit MappedFile(std::string path) : path_(std::move(path)) {
    int const file = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (file < 0) throw IoError(path_ + ": " + std::strerror(errno));
    struct stat status {};
    bool const regular = ::fstat(file, &status) == 0 && S_ISREG(status.st_mode);
    size_ = regular ? static_cast<std::size_t>(status.st_size) : 0;
    if (size_ > 0) data_ = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0);
    auto const reason = errno;
    ::close(file);
    if (!regular) throw IoError(path_ + ": is not a regular file");
    if (data_ == MAP_FAILED) throw IoError(path_ + ": cannot be mapped: " + std::strerror(reason));
  }
  MappedFile(MappedFile&& other) noexcept
      : path_(std::move(other.path_)),
        data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)) {}
  MappedFile& operator=(MappedFile other) noexcept {
    std::swap(path_, other.path_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~MappedFile() {
    if (data_ != nullptr) ::munmap(data_, size_);
  }

  std::string const& path() const { return path_; }
  std::span<std::byte const> bytes() const { return {static_cast<std::byte const*>(data_), size_}; }

 private:
  std::string path_;
  void* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace nxd
