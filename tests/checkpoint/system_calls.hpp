// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <functional>
#include <string>

#include <dlfcn.h>

// Calls to the system that change or read files, as the program that includes this makes them: each
// may fail, or do part of its work. One file of a program includes it.

namespace parts {

/// What becomes of a call.
struct CallEnd {
  int error = 0;                                       ///< it fails with this
  std::size_t at_most = static_cast<std::size_t>(-1);  ///< it writes or reads no more bytes
};

/// Who is told of calls on what lies below a folder, ahead of them, as "fsync model/0". One at a
/// time, made while no other thread makes such calls.
class SystemCalls {
 public:
  using Before = std::function<CallEnd(std::string const& call)>;

  SystemCalls(std::string below, Before before)
      : below_(std::move(below)), before_(std::move(before)) {
    told() = this;
  }
  SystemCalls(SystemCalls const&) = delete;
  SystemCalls& operator=(SystemCalls const&) = delete;
  ~SystemCalls() { told() = nullptr; }

  static CallEnd tell(char const* call, int directory, char const* name = nullptr) {
    auto* const who = told().load();
    if (who == nullptr) return {};
    auto const path = path_of(directory) + (name != nullptr ? "/" + std::string(name) : "");
    auto const at = path.find(who->below_);
    if (at == std::string::npos) return {};
    auto const inner = std::min(at + who->below_.size() + 1, path.size());
    auto end = who->before_(std::string(call) + " " + path.substr(inner));
    if (end.error != 0) errno = end.error;
    return end;
  }

 private:
  static std::atomic<SystemCalls*>& told() {
    static std::atomic<SystemCalls*> one{nullptr};
    return one;
  }
  static std::string path_of(int file) {
    std::array<char, 64> link{};
    std::array<char, 4096> path{};
    std::snprintf(link.data(), link.size(), "/proc/self/fd/%d", file);
    auto const size = ::readlink(link.data(), path.data(), path.size());
    return {path.data(), static_cast<std::size_t>(std::max<::ssize_t>(size, 0))};
  }

  std::string below_;
  Before before_;
};

}  // namespace parts

extern "C" {

ssize_t write(int file, void const* bytes, size_t count) {
  auto const end = parts::SystemCalls::tell("write", file);
  if (end.error != 0) return -1;
  return ::syscall(SYS_write, file, bytes, std::min(count, end.at_most));
}
ssize_t pread(int file, void* bytes, size_t count, off_t offset) {
  auto const end = parts::SystemCalls::tell("pread", file);
  if (end.error != 0) return -1;
  return ::syscall(SYS_pread64, file, bytes, std::min(count, end.at_most), offset);
}
int fsync(int file) {
  if (parts::SystemCalls::tell("fsync", file).error != 0) return -1;
  return static_cast<int>(::syscall(SYS_fsync, file));
}
int close(int file) {  // the file is closed whatever it says
  auto const end = parts::SystemCalls::tell("close", file);
  auto const done = static_cast<int>(::syscall(SYS_close, file));
  if (end.error == 0) return done;
  errno = end.error;
  return -1;
}
int posix_fallocate(int file, off_t offset, off_t size) {
  if (auto const end = parts::SystemCalls::tell("reserve", file); end.error != 0) return end.error;
  return ::syscall(SYS_fallocate, file, 0, offset, size) == 0 ? 0 : errno;
}
int openat(int directory, char const* name, int flags, ...) {
  bool const creates = (flags & O_CREAT) != 0;
  if (creates && parts::SystemCalls::tell("create", directory, name).error != 0) return -1;
  return static_cast<int>(::syscall(SYS_openat, directory, name, flags, creates ? 0666 : 0));
}
int mkdirat(int directory, char const* name, mode_t mode) noexcept {
  if (parts::SystemCalls::tell("mkdir", directory, name).error != 0) return -1;
  return static_cast<int>(::syscall(SYS_mkdirat, directory, name, mode));
}
int renameat2(int from, char const* old_name, int to, char const* new_name,
              unsigned flags) noexcept {
  if (parts::SystemCalls::tell("rename", from, old_name).error != 0) return -1;
  return static_cast<int>(::syscall(SYS_renameat2, from, old_name, to, new_name, flags));
}
DIR* fdopendir(int directory) {
  if (parts::SystemCalls::tell("list", directory).error != 0) return nullptr;
  static auto const real = reinterpret_cast<DIR* (*)(int)>(::dlsym(RTLD_NEXT, "fdopendir"));
  return real(directory);
}
int unlinkat(int directory, char const* name, int flags) noexcept {
  if (parts::SystemCalls::tell("remove", directory, name).error != 0) return -1;
  return static_cast<int>(::syscall(SYS_unlinkat, directory, name, flags));
}
}
