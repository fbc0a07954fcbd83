// SPDX-License-Identifier: Apache-2.0
#pragma once

// Counts what a test program takes with `new`, and refuses it when asked to. To be included in one
// file of a program.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

#include <malloc.h>

namespace allocations {

inline std::atomic<std::int64_t> count{0};       ///< calls of `new` so far
inline std::atomic<std::int64_t> live{0};        ///< blocks that are not given back
inline std::atomic<std::int64_t> bytes{0};       ///< of these blocks
inline std::atomic<std::int64_t> most_bytes{0};  ///< at any time since it was set
inline std::atomic<std::int64_t> refused{-1};    ///< the call that finds no memory

inline void* take(std::size_t size) {
  if (count++ == refused) throw std::bad_alloc();
  auto* const block = std::malloc(size);
  if (block == nullptr) throw std::bad_alloc();
  ++live;
  auto const now = bytes += static_cast<std::int64_t>(::malloc_usable_size(block));
  if (now > most_bytes) most_bytes = now;
  return block;
}

inline void give(void* block) {
  if (block == nullptr) return;
  --live;
  bytes -= static_cast<std::int64_t>(::malloc_usable_size(block));
  std::free(block);
}

}  // namespace allocations

void* operator new(std::size_t size) { return allocations::take(size); }
void* operator new[](std::size_t size) { return allocations::take(size); }
// The library's own would call the first, a sanitizer's would not.
void* operator new(std::size_t size, std::nothrow_t const&) noexcept try {
  return allocations::take(size);
} catch (std::bad_alloc const&) {
  return nullptr;
}
void operator delete(void* block) noexcept { allocations::give(block); }
void operator delete[](void* block) noexcept { allocations::give(block); }
void operator delete(void* block, std::size_t) noexcept { allocations::give(block); }
void operator delete[](void* block, std::size_t) noexcept { allocations::give(block); }
