// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <nxd/core/error.hpp>

namespace nxd {

/// A file or directory that does not exist, or not yet where a network file system shows it.
struct NotThere : IoError {
  using IoError::IoError;
};

/// A file or directory that a network file system has lost sight of (ESTALE): whether it exists is
/// not known, and to ask once more may help.
struct StaleHandle : IoError {
  using IoError::IoError;
};

/// What was written may not be on the disk: the file is lost, and is to be written anew elsewhere.
struct SyncError : IoError {
  using IoError::IoError;
};

/// One name in a directory.
struct DirectoryEntry {
  std::string name;
  bool is_directory;
  std::int64_t modified = 0;  ///< seconds, by the clock of the file system
};

/// A place for checkpoints. Paths are relative to it; "" is the place itself. Nothing is ever
/// overwritten and no link is followed. All members throw IoError with the path and the reason, or
/// CorruptInput for what is not a regular file.
///
///   make_root()          the place exists from now on
///   create(path)         a new file to write, from its beginning to its end
///   open(path)           a file to read; NotThere if there is none, StaleHandle if none can say
///   make_directory(path) a new directory
///   list(path)           what is in a directory, by name
///   rename(from, to)     the commit: at once or not at all, and never over something
///   sync_directory(path) the names in a directory outlive a power cut
///   remove(path)         a file, or a directory with all that is in it
///   free_bytes()         how much can still be written
///   where(path)          the path as a message shows it
template <class S>
concept Storage = requires(S& storage, typename S::File& file, std::string const& path,
                           std::int64_t n, std::span<std::byte> to,
                           std::span<std::byte const> from) {
  storage.make_root();
  { storage.create(path) } -> std::same_as<typename S::File>;
  { storage.open(path) } -> std::same_as<typename S::File>;
  storage.make_directory(path);
  { storage.list(path) } -> std::same_as<std::vector<DirectoryEntry>>;
  storage.rename(path, path);
  storage.sync_directory(path);
  storage.remove(path);
  { storage.free_bytes() } -> std::same_as<std::int64_t>;
  { storage.where(path) } -> std::same_as<std::string>;
  file.reserve(n);
  file.write(from);
  file.sync();
  file.close();
  { file.size() } -> std::same_as<std::int64_t>;
  file.read(n, to);
};

namespace detail {

/// An open file or directory.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

[[noreturn]] inline void fail(std::string const& path, char const* what, int reason,
                              std::int64_t needed = 0) {
  auto sentence = path + ": cannot " + what + ": " + std::strerror(reason);
  if (reason == ENOSPC || reason == EDQUOT)
    sentence += "; " + std::to_string(needed) + " more bytes are needed here";
  if (reason == ENOENT) throw NotThere(sentence);
  if (reason == ESTALE) throw StaleHandle(sentence);
  throw IoError(sentence);
}

/// Does `work` once more, for a second and a half at most, while it meets a stale handle.
template <class Work> auto again_if_stale(Work&& work) {
  for (auto pause = std::chrono::milliseconds(50);; pause *= 2) {
    try {
      return work();
    } catch (StaleHandle const&) {
      if (pause > std::chrono::seconds(1)) throw;
    }
    std::this_thread::sleep_for(pause);
  }
}

}  // namespace detail

/// A file of a `PosixStorage`.
class PosixFile {
 public:
  PosixFile(detail::Descriptor fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}

  /// Takes the space for `bytes` now, so that a full disk shows before the first byte is written.
  void reserve(std::int64_t bytes) {
    if (bytes <= 0) return;
    int reason;
    do reason = ::posix_fallocate(fd_.get(), 0, bytes);
    while (reason == EINTR);
    if (reason != 0 && reason != EOPNOTSUPP && reason != EINVAL)
      detail::fail(path_, "reserve space", reason, bytes);
  }

  /// Appends.
  void write(std::span<std::byte const> bytes) {
    while (!bytes.empty()) {
      auto const done =
          ::write(fd_.get(), bytes.data(), std::min<std::size_t>(bytes.size(), 1 << 30));
      if (done < 0 && errno == EINTR) continue;
      if (done < 0) detail::fail(path_, "write", errno, static_cast<std::int64_t>(bytes.size()));
      if (done == 0) detail::fail(path_, "write", EIO);
      bytes = bytes.subspan(static_cast<std::size_t>(done));
    }
  }

  /// What was written is on the disk. Not to be tried twice: after a failure the kernel may have
  /// dropped the pages and say yes. @throws SyncError
  void sync() {
    if (::fsync(fd_.get()) != 0) {
      if (errno == ENOSPC || errno == EDQUOT) detail::fail(path_, "sync", errno);
      throw SyncError(path_ + ": cannot sync: " + std::strerror(errno));
    }
  }

  void close() {
    if (::close(fd_.release()) != 0 && errno != EINTR) detail::fail(path_, "close", errno);
  }

  std::int64_t size() const {
    struct ::stat s;
    if (::fstat(fd_.get(), &s) != 0) detail::fail(path_, "look at", errno);
    return s.st_size;
  }

  /// Fills `to` with the bytes from `offset` on. @throws CorruptInput if the file ends before.
  void read(std::int64_t offset, std::span<std::byte> to) const {
    while (!to.empty()) {
      auto const done =
          ::pread(fd_.get(), to.data(), std::min<std::size_t>(to.size(), 1 << 30), offset);
      if (done < 0 && errno == EINTR) continue;
      if (done < 0) detail::fail(path_, "read", errno);
      if (done == 0)
        throw CorruptInput(path_ + ": ends at byte " + std::to_string(offset) + ", too early");
      to = to.subspan(static_cast<std::size_t>(done));
      offset += done;
    }
  }

 private:
  detail::Descriptor fd_;
  std::string path_;
};

/// A directory of a POSIX file system. Every path is walked from its root, name by name, and no
/// link is followed on the way.
class PosixStorage {
 public:
  using File = PosixFile;

  explicit PosixStorage(std::string root) : root_(std::move(root)) {
    while (root_.size() > 1 && root_.back() == '/') root_.pop_back();
    if (root_.empty()) root_ = ".";
  }

  std::string where(std::string const& path) const {
    return path.empty() ? root_ : root_ + "/" + path;
  }

  void make_root() {
    for (std::size_t at = 0; at != std::string::npos;) {
      at = root_.find('/', at + 1);
      auto const part = root_.substr(0, at);
      if (::mkdir(part.c_str(), 0777) == 0) {
        sync_parent(part);
        continue;
      }
      auto const reason = errno;
      if (reason == EEXIST) continue;
      struct ::stat s;
      if (::stat(part.c_str(), &s) != 0) detail::fail(part, "make the directory", reason);
    }
    directory("");
  }

  PosixFile create(std::string const& path) {
    auto const [parent, name] = split(path);
    detail::Descriptor fd(::openat(directory(parent).get(), name.c_str(),
                                   O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666));
    if (fd.get() < 0) detail::fail(where(path), "create", errno);
    return {std::move(fd), where(path)};
  }

  PosixFile open(std::string const& path) {
    auto const [parent, name] = split(path);
    detail::Descriptor fd(::openat(directory(parent).get(), name.c_str(),
                                   O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    if (fd.get() < 0 && (errno == ELOOP || errno == ENXIO)) refuse(path);
    if (fd.get() < 0) detail::fail(where(path), "open", errno);
    struct ::stat s;
    if (::fstat(fd.get(), &s) != 0) detail::fail(where(path), "look at", errno);
    if (!S_ISREG(s.st_mode)) refuse(path);
    return {std::move(fd), where(path)};
  }

  void make_directory(std::string const& path) {
    auto const [parent, name] = split(path);
    if (::mkdirat(directory(parent).get(), name.c_str(), 0777) != 0)
      detail::fail(where(path), "make the directory", errno);
  }

  std::vector<DirectoryEntry> list(std::string const& path) {
    return detail::again_if_stale([&] { return list_once(path); });
  }

  void rename(std::string const& from, std::string const& to) {
    auto const [from_parent, from_name] = split(from);
    auto const [to_parent, to_name] = split(to);
    auto const from_fd = directory(from_parent), to_fd = directory(to_parent);
    if (::renameat2(from_fd.get(), from_name.c_str(), to_fd.get(), to_name.c_str(),
                    RENAME_NOREPLACE) == 0)
      return;
    if (errno == EINVAL || errno == ENOSYS) {  // a file system without the flag
      struct ::stat s;
      if (::fstatat(to_fd.get(), to_name.c_str(), &s, AT_SYMLINK_NOFOLLOW) == 0)
        errno = EEXIST;
      else if (::renameat(from_fd.get(), from_name.c_str(), to_fd.get(), to_name.c_str()) == 0)
        return;
    }
    detail::fail(where(from), ("rename to " + where(to)).c_str(), errno);
  }

  void sync_directory(std::string const& path) {
    if (::fsync(directory(path).get()) != 0) detail::fail(where(path), "sync", errno);
  }

  void remove(std::string const& path) {
    auto const [parent, name] = split(path);
    auto const fd = directory(parent);
    if (::unlinkat(fd.get(), name.c_str(), 0) == 0) return;
    if (errno != EISDIR && errno != EPERM) detail::fail(where(path), "remove", errno);
    for (auto const& entry : list(path)) remove(path + "/" + entry.name);
    if (::unlinkat(fd.get(), name.c_str(), AT_REMOVEDIR) != 0)
      detail::fail(where(path), "remove", errno);
  }

  std::int64_t free_bytes() {
    struct ::statvfs s;
    if (::fstatvfs(directory("").get(), &s) != 0) detail::fail(root_, "look at", errno);
    return static_cast<std::int64_t>(s.f_bavail) * static_cast<std::int64_t>(s.f_frsize);
  }

 private:
  struct CloseDirectory {
    void operator()(DIR* stream) const { ::closedir(stream); }
  };

  std::vector<DirectoryEntry> list_once(std::string const& path) {
    auto fd = directory(path);
    std::vector<DirectoryEntry> all;
    std::unique_ptr<DIR, CloseDirectory> const stream(::fdopendir(fd.get()));
    if (stream == nullptr) detail::fail(where(path), "list", errno);
    auto const at = fd.release();
    for (errno = 0; auto const* entry = ::readdir(stream.get()); errno = 0) {
      std::string name = entry->d_name;
      if (name == "." || name == "..") continue;
      struct ::stat s;
      if (::fstatat(at, entry->d_name, &s, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno != ESTALE) continue;
        detail::fail(where(path + "/" + name), "look at", ESTALE);
      }
      all.push_back({std::move(name), S_ISDIR(s.st_mode), s.st_mtim.tv_sec});
    }
    if (errno != 0) detail::fail(where(path), "list", errno);
    std::ranges::sort(all, {}, &DirectoryEntry::name);
    return all;
  }

  [[noreturn]] void refuse(std::string const& path) const {
    throw CorruptInput(where(path) + ": is not a regular file");
  }

  static std::pair<std::string, std::string> split(std::string const& path) {
    auto const slash = path.rfind('/');
    if (slash == std::string::npos) return {"", path};
    return {path.substr(0, slash), path.substr(slash + 1)};
  }

  static void sync_parent(std::string const& path) {
    auto const slash = path.rfind('/');
    auto const parent = slash == std::string::npos ? "." : path.substr(0, slash + 1);
    detail::Descriptor const fd(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd.get() < 0 || ::fsync(fd.get()) != 0) detail::fail(parent, "sync", errno);
  }

  /// The directory at `path`, opened.
  detail::Descriptor directory(std::string const& path) const {
    constexpr int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
    detail::Descriptor fd(::open(root_.c_str(), flags));
    if (fd.get() < 0) detail::fail(root_, "open the directory", errno);
    for (std::size_t from = 0; from < path.size();) {
      auto const slash = std::min(path.find('/', from), path.size());
      auto const name = path.substr(from, slash - from);
      detail::Descriptor next(::openat(fd.get(), name.c_str(), flags | O_NOFOLLOW));
      if (next.get() < 0 && (errno == ENOTDIR || errno == ELOOP))
        throw CorruptInput(where(path.substr(0, slash)) + ": is not a directory");
      if (next.get() < 0) detail::fail(where(path), "open the directory", errno);
      fd = std::move(next);
      from = slash + 1;
    }
    return fd;
  }

  std::string root_;
};

static_assert(Storage<PosixStorage>);

}  // namespace nxd
