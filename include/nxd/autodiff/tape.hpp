// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include <nxd/tensor/local.hpp>

namespace nxd {

/// Who is told, in the last backward passes of a step, that the gradient of a weight is whole: then
/// it can be on its way while the passes go on. `whole` is called once for each weight, in the same
/// order on all ranks that run the same operations.
struct GradientWatch {
  void* who = nullptr;
  void (*whole)(void* who, void* cell) = nullptr;  ///< the cell is that of the weight's slot
  void (*turn)(void* who) = nullptr;               ///< called after each operation
};

namespace detail {
struct CellState;
}

/// What is to be called now and then, so that messages go on while products are made.
struct Turn {
  void* who = nullptr;
  void (*go)(void* who) = nullptr;

  constexpr void operator()() const { go(who); }
};

/// Who brings weights that other ranks have updated. They may be on their way while a step goes on:
/// who reads one waits for it.
struct WeightArrivals {
  void* who = nullptr;
  void (*wait)(void* who, detail::CellState const& of) = nullptr;  ///< until the weight is there
  void (*turn)(void* who) = nullptr;  ///< called before each operation, while some are under way
};

}  // namespace nxd

namespace nxd::detail {

/// What is to be known of a value besides its gradient.
struct CellState {
  WeightArrivals const* arrivals = nullptr;  ///< of a weight, while its elements are on their way
  bool has_gradient = false;
  bool outlives_steps = false;  ///< a weight's: nothing within the step waits for it
  bool is_summed = false;       ///< ranks sum the gradient next: see `World::put_off_beside`
  std::int32_t last_uses = 0;   ///< those whose pullbacks are still to come: see `GradientWatch`

  /// Returns when the elements of the value may be read, and written.
  constexpr void await() const {
    if (arrivals != nullptr) arrivals->wait(arrivals->who, *this);
  }
};

/// One recorded operation. Its types end here: the tape only knows the order.
struct Operation {
  Operation* previous = nullptr;
  constexpr virtual ~Operation() = default;
  constexpr virtual void pull() = 0;
  constexpr virtual void destroy() = 0;
};

/// Where the gradient of a value is gathered.
template <class G, class B> struct Cell : CellState {
  Local<G, B> gradient{};

  constexpr Local<G, B>& sum() { return gradient; }
};

/// Likewise, where elements are too short to sum many: a weight's gradient is in `sum`, that of
/// other values in `gradient`.
template <class G, class B>
requires OtherThan<G, sum_of_t<G>>
struct Cell<G, B> : CellState {
  Local<G, B> gradient{};
  Local<sum_of_t<G>, B> total{};

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

  /// The first operation becomes the last.
  constexpr void turn_around() {
    auto* node = std::exchange(last_, nullptr);
    while (node != nullptr) push(std::exchange(node, node->previous));
  }

  /// Runs the pullbacks down to `end`, the last operation first. What has been pulled is forgotten:
  /// nothing that is left can ask for it. `turn()` is called after each.
  constexpr void pull_until(Operation* end, auto const& turn) {
    while (last_ != end) {
      auto* const node = std::exchange(last_, last_->previous);
      node->pull();
      node->destroy();
      turn();
    }
  }
  constexpr void pull_until(Operation* end) {
    pull_until(end, [] {});
  }
  constexpr void drop_until(Operation* end) {
    while (last_ != end) std::exchange(last_, last_->previous)->destroy();
  }

 private:
  Operation* last_ = nullptr;
};

}  // namespace nxd

namespace nxd::detail {

/// Lies below an operation that uses a weight for the last time in a step, or for one of the last
/// times, and so is pulled after it. What has been put off may make a part of the gradient: then it
/// is put off too.
template <class B> struct LastUse final : Operation {
  GradientWatch const& watch;
  void* cell;
  std::int32_t& left;
  Tape& put_off;

  using allocator = typename allocator_of<B, LastUse>::type;

  template <class Cell>
  constexpr LastUse(GradientWatch const& w, Cell* c, Tape& later)
      : watch(w), cell(c), left(c->last_uses), put_off(later) {
    ++left;
  }
  constexpr LastUse(LastUse const& other)
      : watch(other.watch), cell(other.cell), left(other.left), put_off(other.put_off) {
    ++left;
  }
  LastUse& operator=(LastUse const&) = delete;
  constexpr ~LastUse() override {}  // spelled out for g++ 12

  static constexpr LastUse* make(auto&&... from) {
    return std::construct_at(allocator{}.allocate(1), from...);
  }
  constexpr void pull() override {
    if (put_off.top() != nullptr)
      put_off.push(make(std::as_const(*this)));
    else if (left == 1)
      watch.whole(watch.who, cell);
  }
  constexpr void destroy() override {
    --left;
    std::destroy_at(this);
    allocator{}.deallocate(this, 1);
  }
};

}  // namespace nxd::detail
