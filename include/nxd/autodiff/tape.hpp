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
template <class G, class B>
struct Cell {
  Local<G, B> gradient{};
  bool has_gradient = false;
};

/// Nodes come from where the backend says, if it does: a steady step then asks the system for nothing.
template <class B, class T>
struct allocator_of {
  using type = std::allocator<T>;
};
template <class B, class T> requires requires { typename B::template allocator<T>; }
struct allocator_of<B, T> {
  using type = typename B::template allocator<T>;
};

/// A recorded operation as its users see it: the gradient of its value, of type G.
template <class G, class B, class Pullback>
struct Recorded final : Operation {
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

/// The operations to differentiate, the last on top.
class Tape {
 public:
  constexpr Tape() = default;
  Tape(Tape const&) = delete;
  Tape& operator=(Tape const&) = delete;
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

}  // namespace nxd::detail
