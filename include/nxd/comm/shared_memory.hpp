// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>

namespace nxd {

/// Where something lies in memory that other processes of this node can map. Empty: it does not.
struct SharedAddress {
  std::int64_t process = 0;
  std::int64_t file = -1;   ///< a descriptor of that process
  std::uint64_t inode = 0;  ///< of that file, so that no other is taken for it
  std::size_t size = 0;
  std::size_t offset = 0;

  explicit operator bool() const { return file >= 0; }
};

/// What this process has of memory that ranks of its node can map: large pieces, such as the slabs
/// of an arena. Peers read and write it where it is, and so exchanges need no copies. It belongs to
/// no folder and ends with the last process that has it, however that ends. Not in huge pages,
/// unless the system has them for shared memory. Any thread may call it.
class SharedMemory {
 public:
  static SharedMemory& of_process() {
    static SharedMemory memory;
    return memory;
  }

  /// Whether large pieces of memory should come from here: there are ranks that would look.
  bool wanted() const { return wanted_.load(std::memory_order_relaxed); }
  void want(bool yes) { wanted_.store(yes, std::memory_order_relaxed); }

  /// Zeros, on a page's start; nullptr if the system has none to share.
  void* allocate(std::size_t bytes) {
    int const file = ::memfd_create("nxd", MFD_CLOEXEC);
    if (file < 0) return nullptr;
    struct stat about {};
    void* memory = MAP_FAILED;
    if (::ftruncate(file, static_cast<off_t>(bytes)) == 0 && ::fstat(file, &about) == 0)
      memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (memory == MAP_FAILED) return ::close(file), nullptr;
    std::lock_guard const lock(mutex_);
    pieces_[static_cast<std::byte*>(memory)] = {::getpid(), file, about.st_ino, bytes, 0};
    return memory;
  }

  /// Gives back what `allocate` gave. @return whether it was from here
  bool deallocate(void* memory) noexcept {
    std::lock_guard const lock(mutex_);
    auto const found = pieces_.find(static_cast<std::byte*>(memory));
    if (found == pieces_.end()) return false;
    ::munmap(memory, found->second.size);
    ::close(static_cast<int>(found->second.file));
    pieces_.erase(found);
    return true;
  }

  /// Where these bytes lie, if they are from here.
  SharedAddress find(void const* memory, std::size_t bytes) const {
    auto const* const first = static_cast<std::byte const*>(memory);
    std::lock_guard const lock(mutex_);
    auto after = pieces_.upper_bound(const_cast<std::byte*>(first));
    if (after == pieces_.begin()) return {};
    auto const& [start, piece] = *std::prev(after);
    auto const offset = static_cast<std::size_t>(first - start);
    if (offset + bytes > piece.size) return {};
    auto found = piece;
    found.offset = offset;
    return found;
  }

 private:
  SharedMemory() = default;

  std::atomic<bool> wanted_ = false;
  mutable std::mutex mutex_;
  std::map<std::byte*, SharedAddress> pieces_;
};

/// Pieces of other processes' memory, mapped when they are first asked for. A piece that its owner
/// gives back stays until this object ends.
class MappedMemory {
 public:
  MappedMemory() = default;
  MappedMemory(MappedMemory const&) = delete;
  MappedMemory& operator=(MappedMemory const&) = delete;
  ~MappedMemory() {
    for (auto const& [key, piece] : pieces_) ::munmap(piece.first, piece.second);
  }

  /// What lies there; nullptr if this process may not see it.
  std::byte* at(SharedAddress const& address) {
    auto const key = std::pair(address.process, address.inode);
    auto found = pieces_.find(key);
    if (found == pieces_.end()) {
      void* const memory = map(address);
      if (memory == nullptr) return nullptr;
      found = pieces_.emplace(key, std::pair(memory, address.size)).first;
    }
    return static_cast<std::byte*>(found->second.first) + address.offset;
  }

 private:
  static void* map(SharedAddress const& address) {
    auto const path =
        "/proc/" + std::to_string(address.process) + "/fd/" + std::to_string(address.file);
    int const file = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    if (file < 0) return nullptr;
    struct stat about {};
    void* memory = MAP_FAILED;
    if (::fstat(file, &about) == 0 && about.st_ino == address.inode &&
        static_cast<std::size_t>(about.st_size) == address.size)
      memory = ::mmap(nullptr, address.size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    ::close(file);
    return memory == MAP_FAILED ? nullptr : memory;
  }

  std::map<std::pair<std::int64_t, std::uint64_t>, std::pair<void*, std::size_t>> pieces_;
};

}  // namespace nxd
