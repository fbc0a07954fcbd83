// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/mman.h>

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <new>

#include <nxd/comm/shared_memory.hpp>
#include <nxd/core/expects.hpp>
#include <nxd/tensor/meter.hpp>

namespace nxd {

/// Memory that comes back for the next tensor: blocks are cut from large slabs, joined with their
/// free neighbours when they return, and never given back to the system while the arena lives. A
/// step that repeats asks the system for nothing. One thread uses it; blocks are aligned to 64
/// bytes, and slabs lie in huge pages where the system has them. Where ranks share a node, slabs
/// lie in memory that they all can map.
class Arena {
 public:
  static constexpr std::size_t alignment = 64;

  Arena() = default;
  Arena(Arena const&) = delete;
  Arena& operator=(Arena const&) = delete;
  ~Arena() {
    while (slabs_ != nullptr) {
      auto* const slab = slabs_;
      slabs_ = slab->next;
      if (!SharedMemory::of_process().deallocate(slab)) ::munmap(slab, slab->bytes);
    }
  }

  /// @throws std::bad_alloc if the system has no more
  void* allocate(std::size_t bytes) {
    auto const size = round_up(bytes) + header;
    auto* block = find(size);
    if (block == nullptr) block = add_slab(size);
    remove(block);
    split(block, size);
    block->free = false;
    block->use = meter_.now;
    block->cost = cost(bytes);
    meter_.add(block->use, block->cost);
    return reinterpret_cast<std::byte*>(block) + header;
  }

  /// Takes back what `allocate` gave.
  void deallocate(void* pointer) noexcept {
    auto* block = reinterpret_cast<Block*>(static_cast<std::byte*>(pointer) - header);
    meter_.remove(block->use, block->cost);
    block->free = true;
    if (auto* const next = following(block); next != nullptr && next->free) {
      remove(next);
      join(block, next);
    }
    if (auto* const before = block->before; before != nullptr && before->free) {
      remove(before);
      join(before, block);
      block = before;
    }
    insert(block);
  }

  /// What an allocation counts for: its bytes, with what alignment and the block's head add.
  static constexpr std::int64_t cost(std::size_t bytes) {
    return static_cast<std::int64_t>(round_up(bytes) + header);
  }

  /// Bytes in use and the most there have been, each allocation at its cost. What free blocks lie
  /// between them does not count.
  Meter& meter() { return meter_; }

  /// Bytes that came from the system, and how often it was asked.
  std::size_t held() const { return held_; }
  std::size_t requests() const { return requests_; }

 private:
  static constexpr std::size_t header = 64;
  static constexpr std::size_t least_slab = std::size_t{8} << 20;
  static constexpr std::size_t huge_page = std::size_t{2} << 20;

  struct Block {
    std::size_t size;  ///< with its header
    Block* before;     ///< its neighbour in the slab
    Block* next;       ///< in the list of free blocks
    Block* previous;
    std::int64_t cost;
    bool free;
    bool last;  ///< of its slab
    MemoryUse use;
  };
  static_assert(sizeof(Block) <= header);

  struct Slab {
    Slab* next;
    std::size_t bytes;
  };

  static constexpr std::size_t round_up(std::size_t n) {
    return (n + alignment - 1) / alignment * alignment;
  }
  static constexpr std::size_t bin_of(std::size_t size) {
    return static_cast<std::size_t>(std::bit_width(size));
  }
  static Block* following(Block* b) {
    return b->last ? nullptr : reinterpret_cast<Block*>(reinterpret_cast<std::byte*>(b) + b->size);
  }

  /// The smallest free block that has room: from its own bin, or any of the next.
  Block* find(std::size_t size) const {
    for (auto bin = bin_of(size); bin < bins_.size(); ++bin) {
      Block* best = nullptr;
      for (auto* b = bins_[bin]; b != nullptr; b = b->next)
        if (b->size >= size && (best == nullptr || b->size < best->size)) best = b;
      if (best != nullptr) return best;
    }
    return nullptr;
  }

  Block* add_slab(std::size_t size) {
    auto const wanted = size + header > least_slab ? size + header : least_slab;
    auto const bytes = (wanted + huge_page - 1) / huge_page * huge_page;
    void* const memory = take_slab(bytes);
    ++requests_;
    held_ += bytes;
    slabs_ = new (memory) Slab{slabs_, bytes};
    auto* const block = new (static_cast<std::byte*>(memory) + header)
        Block{bytes - header, nullptr, nullptr, nullptr, 0, true, true, {}};
    insert(block);
    return block;
  }

  /// Where other ranks are to look into it, from what they can map.
  static void* take_slab(std::size_t bytes) {
    auto& shared = SharedMemory::of_process();
    void* memory = shared.wanted() ? shared.allocate(bytes) : nullptr;
    if (memory == nullptr)
      memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    ::madvise(memory, bytes, MADV_HUGEPAGE);
    return memory;
  }

  void insert(Block* b) noexcept {
    auto& head = bins_[bin_of(b->size)];
    b->previous = nullptr;
    b->next = head;
    if (head != nullptr) head->previous = b;
    head = b;
  }

  void remove(Block* b) noexcept {
    if (b->previous != nullptr)
      b->previous->next = b->next;
    else
      bins_[bin_of(b->size)] = b->next;
    if (b->next != nullptr) b->next->previous = b->previous;
  }

  void split(Block* b, std::size_t size) {
    if (b->size < size + 2 * header) return;
    auto* const rest = new (reinterpret_cast<std::byte*>(b) + size)
        Block{b->size - size, b, nullptr, nullptr, 0, true, b->last, {}};
    if (auto* const after = following(rest)) after->before = rest;
    b->size = size;
    b->last = false;
    insert(rest);
  }

  static void join(Block* b, Block* next) noexcept {
    b->size += next->size;
    b->last = next->last;
    if (auto* const after = following(b)) after->before = b;
  }

  std::array<Block*, 65> bins_{};
  Slab* slabs_ = nullptr;
  Meter meter_;
  std::size_t held_ = 0;
  std::size_t requests_ = 0;
};

/// The arena of the calling thread. A rank is a thread, so each has its own; tensors stay with the
/// thread that made them.
inline Arena& this_arena() {
  thread_local Arena arena;
  return arena;
}

/// An allocator of the standard library's kind over the thread's arena.
template <class T> struct ArenaAllocator {
  using value_type = T;

  ArenaAllocator() = default;
  template <class U> ArenaAllocator(ArenaAllocator<U> const&) {}

  T* allocate(std::size_t n) { return static_cast<T*>(this_arena().allocate(n * sizeof(T))); }
  void deallocate(T* p, std::size_t) noexcept { this_arena().deallocate(p); }

  template <class U> bool operator==(ArenaAllocator<U> const&) const { return true; }
};

}  // namespace nxd
