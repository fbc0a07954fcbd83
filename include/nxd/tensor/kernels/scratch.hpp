// SPDX-License-Identifier: Apache-2.0
#pragma once

#if defined(__x86_64__) && defined(__linux__)
#include <sys/mman.h>
#endif

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>

namespace nxd::detail {

/// Memory that grows, and stays for the next time.
class Scratch {
 public:
  std::byte* at_least(std::size_t bytes) {
    if (bytes > size_) {
      size_ = (bytes + huge - 1) / huge * huge;
      memory_.reset();
      memory_.reset(static_cast<std::byte*>(std::aligned_alloc(huge, size_)));
      if (!memory_) throw std::bad_alloc();
#if defined(__x86_64__) && defined(__linux__)
      madvise(memory_.get(), size_, MADV_HUGEPAGE);
#endif
    }
    return memory_.get();
  }

 private:
  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
  };
  static constexpr std::size_t huge = std::size_t{2} << 20;
  std::unique_ptr<std::byte, Free> memory_;
  std::size_t size_ = 0;
};

}  // namespace nxd::detail
