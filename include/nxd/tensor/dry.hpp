// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include <nxd/tensor/arena.hpp>
#include <nxd/tensor/kernels/prices.hpp>
#include <nxd/tensor/local.hpp>

namespace nxd {

/// The meter of the calling thread's dry runs.
inline Meter& dry_meter() {
  thread_local Meter meter;
  return meter;
}

/// What the calling thread's dry runs take their work to be.
struct DryWork {
  KernelPrices prices;
  double seconds = 0;  ///< so far

  static DryWork& mine() {
    thread_local DryWork work;
    return work;
  }
};

/// Kernels that do nothing, and take the time for it.
struct DryKernels {
  static void multiply(Product const& p, auto const*, auto const*, auto*, bool) { take(p); }
  static void attention(Attention const& s, auto const*...) { take(s, false); }
  static void attention_pull(Attention const& s, auto const*...) { take(s, true); }
  static void in_pieces(std::int64_t n, auto const& work) { work(std::int64_t{0}, n); }
  static void add(std::int64_t n, auto const*...) { take(Kernel::add, n); }
  static void cast(std::int64_t n, auto const*...) { take(Kernel::cast, n); }
  static void cast_stochastic(std::span<Run const> runs, auto const&, auto const*...) {
    std::int64_t n = 0;
    for (auto const& run : runs) n += run.count;
    take(Kernel::cast_stochastic, n);
  }
  static void axpy(std::int64_t n, auto, auto const*...) { take(Kernel::axpy, n); }
  static void scale(std::int64_t n, auto, auto const*...) { take(Kernel::scale, n); }
  static void transpose_blocks(std::int64_t rows, std::int64_t columns, std::int64_t block,
                               auto const*...) {
    take(Kernel::transpose_blocks, rows * columns * block);
  }
  static double sum_of_squares(std::int64_t n, auto const*) {
    return take(Kernel::sum_of_squares, n);
  }
  static double max_abs(std::int64_t n, auto const*) { return take(Kernel::max_abs, n); }
  static void rms_norm(std::int64_t rows, std::int64_t columns, double, auto const*...) {
    take(Kernel::rms_norm, rows * columns);
  }
  static void rms_norm_pull(std::int64_t rows, std::int64_t columns, auto const*...) {
    take(Kernel::rms_norm_pull, rows * columns);
  }
  static void softmax(std::int64_t rows, std::int64_t columns, double, auto const*...) {
    take(Kernel::softmax, rows * columns);
  }
  static void softmax_pull(std::int64_t rows, std::int64_t columns, double, auto const*...) {
    take(Kernel::softmax_pull, rows * columns);
  }
  static void swiglu(std::int64_t rows, std::int64_t columns, auto const*...) {
    take(Kernel::swiglu, rows * columns);
  }
  static void swiglu_pull(std::int64_t rows, std::int64_t columns, auto const*...) {
    take(Kernel::swiglu_pull, rows * columns);
  }
  template <class T, class S>
  static void rotate(Rotary const& s, T const*, S const*, S const*, T*, int) {
    take(Kernel::rotate, s.batch * s.positions * s.heads * s.head_dim);
  }
  static void gather_rows(Rows const& s, auto const*...) {
    take(Kernel::gather_rows, s.count * s.columns);
  }
  static void scatter_add_rows(Rows const& s, auto const*...) {
    take(Kernel::scatter_add_rows, s.count * s.columns);
  }
  static void cross_entropy_stats(CrossEntropy const& s, auto const*...) {
    take(Kernel::cross_entropy_stats, s.rows * s.columns);
  }
  template <class T, class S>
  static void cross_entropy_pull(CrossEntropy const& s, T const*, std::int32_t const*, S const*,
                                 S const*, CrossEntropyOptions const&, T*) {
    take(Kernel::cross_entropy_pull, s.rows * s.columns);
  }
  static void adamw(AdamWStep const&, std::int64_t n, auto const*...) { take(Kernel::adamw, n); }
  static void sgd(SgdStep const&, std::int64_t n, auto const*...) { take(Kernel::sgd, n); }

 private:
  static double take(auto const&... what) {
    auto& work = DryWork::mine();
    work.seconds += work.prices.of(what...);
    return 0;
  }
};

/// Real memory for what a dry run must remember, counted as the arena would count it.
template <class T> struct DryAllocator {
  using value_type = T;

  DryAllocator() = default;
  template <class U> DryAllocator(DryAllocator<U> const&) {}

  T* allocate(std::size_t n) {
    auto* const head =
        static_cast<std::max_align_t*>(::operator new(sizeof(std::max_align_t) + n * sizeof(T)));
    auto const use = *reinterpret_cast<MemoryUse*>(head) = dry_meter().now;
    dry_meter().add(use, Arena::cost(n * sizeof(T)));
    return reinterpret_cast<T*>(head + 1);
  }
  void deallocate(T* p, std::size_t n) noexcept {
    auto* const head = reinterpret_cast<std::max_align_t*>(p) - 1;
    dry_meter().remove(*reinterpret_cast<MemoryUse*>(head), Arena::cost(n * sizeof(T)));
    ::operator delete(head);
  }

  template <class U> bool operator==(DryAllocator<U> const&) const { return true; }
};

/// Backend B without its elements. What B would allocate is counted, to the byte and at the same
/// moments; nothing is computed, and nothing needs that memory. B's storage has its elements and
/// its own record on an `ArenaAllocator`.
template <Backend B> struct Dry {
  using element = typename B::element;
  using weight = typename Numbers<B>::weight;
  using residual = typename Numbers<B>::residual;
  using kernels = DryKernels;
  static constexpr bool has_elements = false;
  static constexpr bool counts_work = true;

  template <class T> using allocator = DryAllocator<T>;

  /// As large as B's storage, but for the elements.
  template <class E> class alignas(typename B::template storage<E>) Storage {
   public:
    using value_type = E;

    explicit Storage(std::int64_t n)
        : cost_(Arena::cost(static_cast<std::size_t>(n) * sizeof(E))), use_(dry_meter().now) {
      dry_meter().add(use_, cost_);
    }
    Storage(Storage const&) = delete;
    Storage& operator=(Storage const&) = delete;
    ~Storage() { dry_meter().remove(use_, cost_); }

   private:
    std::int64_t cost_;
    MemoryUse use_;
    std::byte
        rest_[sizeof(typename B::template storage<E>) - sizeof(std::int64_t) - sizeof(MemoryUse)];
  };
  template <class E> using buffer = std::shared_ptr<Storage<E>>;

  template <class E> static buffer<E> allocate(std::int64_t n) {
    static_assert(sizeof(Storage<E>) == sizeof(typename B::template storage<E>));
    return std::allocate_shared<Storage<E>>(DryAllocator<Storage<E>>{}, n);
  }
  template <class S> static typename S::value_type* data(std::shared_ptr<S> const&) {
    return nullptr;
  }
  template <class S> static bool is_shared(std::shared_ptr<S> const& buffer) {
    return buffer.use_count() > 1;
  }

  static Meter& meter() { return dry_meter(); }
};

}  // namespace nxd
