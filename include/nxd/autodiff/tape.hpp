// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <utility>

#include <nxd/tensor/local.hpp>

namespace nxd::detail {

/// One recorded operation. Its types end here: the tape only knows the order.
struct Operation {
  Operation* previous = nullptr;
  constexpr virtual ~Operation() = default;
  constexpr virtual void pull() = 0;
  constexpr virtual void destroy() = 0;
};

/// Where the gradient of a value is gathered.
template <class G, class B> struct Cell {
  Local<G, B> gradient{};
  bool has_gradient = false;
  bool outlives_steps = false;  ///< a weight's: nothing within the step waits for it

  constexpr Local<G, B>& sum() { return gradient; }
};

/// Likewise, where elements are too short to sum many: a weight's gradient is in `sum`, that of
/// other values in `gradient`.
template <class G, class B>
requires OtherThan<G, sum_of_t<G>>
struct Cell<G, B> {
  Local<G, B> gradient{};
  Local<sum_of_t<G>, B> total{};
  bool has_gradient = false;
  bool outlives_steps = false;

  constexpr Local<sum_of_t<G>, B>& sum() { return total; }
};

/// Nodes come from where the backend says, if it does: a steady step then asks the system for
/// nothing.
template <class B, class T> struct allocator_of { using type = std::allocator<T>; };
template <class B, class T>
requires requires { typename B::template allocator<T>; }
struct allocator_of<B, T> {
  using type = typename B::template allocator<T>;
};

/// A recorded operation as its users see it: the gradient of its value, of type G.
template <class G, class B, class Pullback> struct Recorded final : Operation {
  Cell<G, B> cell;
  Pullback pullback;

  using allocator = typename allocator_of<B, Recorded>::type;

  constexpr explicit Recorded(Pullback p) : pullback(std::move(p)) {}
  constexpr ~Recorded() override {}  // spelled out for g++ 12

  static constexpr Recorded* make(Pullback p) {
    auto* const node = allocator{}.allocate(1);
    return std::construct_at(node, std::move(p));
  }
  constexpr void pull() override {
    if (cell.has_gradient) pullback(cell.gradient);
  }
  constexpr void destroy() override {
    std::destroy_at(this);
    allocator{}.deallocate(this, 1);
  }
};

/// Work that a backward pass has put off: the gradient of a weight.
template <class B, class Work> struct Deferred final : Operation {
  Work work;

  using allocator = typename allocator_of<B, Deferred>::type;

  constexpr explicit Deferred(Work w) : work(std::move(w)) {}
  constexpr ~Deferred() override {}  // spelled out for g++ 12

  static constexpr Deferred* make(Work w) {
    auto* const node = allocator{}.allocate(1);
    return std::construct_at(node, std::move(w));
  }
  constexpr void pull() override { work(); }
  constexpr void destroy() override {
    std::destroy_at(this);
    allocator{}.deallocate(this, 1);
  }
};

}  // namespace nxd::detail

namespace nxd {

/// Operations to differentiate, the last on top. A world has one that it records on; a pipeline
/// gives it one for each microbatch under way.
class Tape {
  using Operation = detail::Operation;

 public:
  constexpr Tape() = default;
  constexpr Tape(Tape&& other) noexcept : last_(std::exchange(other.last_, nullptr)) {}
  constexpr Tape& operator=(Tape&& other) noexcept {
    std::swap(last_, other.last_);
    return *this;
  }
  constexpr ~Tape() { drop_until(nullptr); }

  constexpr void push(Operation* node) { node->previous = std::exchange(last_, node); }
  constexpr Operation* top() const { return last_; }

  /// Runs the pullbacks down to `end`, the last operation first. What has been pulled is forgotten:
  /// nothing that is left can ask for it.
  constexpr void pull_until(Operation* end) {
    while (last_ != end) {
      auto* const node = std::exchange(last_, last_->previous);
      node->pull();
      node->destroy();
    }
  }
  constexpr void drop_until(Operation* end) {
    while (last_ != end) std::exchange(last_, last_->previous)->destroy();
  }

 private:
  Operation* last_ = nullptr;
};

}  // namespace nxd
