// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include <nxd/autodiff/beside.hpp>
#include <nxd/autodiff/world.hpp>
#include <nxd/comm/reduce.hpp>
#include <nxd/dist/roads.hpp>

namespace nxd {

namespace detail {

/// X seen as steps[outer][length of D][inner]: what lies before and after dimension D.
struct Split {
  std::int64_t outer = 1;
  std::int64_t length = 1;
  std::int64_t inner = 1;
  constexpr std::int64_t size() const { return outer * length * inner; }
};

template <class X, class D> constexpr Split split_at(auto const& plan) {
  Split split;
  bool after = false;
  auto const count = [&]<class E>(E) {
    auto const length = X::template local_extent<E>(plan);
    if constexpr (std::same_as<D, E>) {
      split.length = length;
      after = true;
    } else {
      (after ? split.inner : split.outer) *= length;
    }
  };
  [&]<class... Ds>(Shape<Ds...>) { (count(Ds{}), ...); }(typename X::shape{});
  return split;
}

template <class X> using values_t = std::span<typename X::element>;
template <class X> using constants_t = std::span<typename X::element const>;

template <class X, class B> auto values(auto const& plan, Local<X, B> const& x) {
  return values_t<X>(data(x), static_cast<std::size_t>(X::local_size(plan)));
}
template <class X, class B> auto constants(auto const& plan, Local<X, B> const& x) {
  return constants_t<X>(data(x), static_cast<std::size_t>(X::local_size(plan)));
}

/// Begins a sum of x over ranks, of the world's `beside`, to y.
/// @return what the others' values come to, which is to live as long as the sum goes on
template <class Y, class X, class B, class W>
auto begin_sum(W& world, Line along, Exchange what, RowPieces const& pieces, Local<X, B> const& x,
               Local<Y, B> const& y) {
  using T = typename X::element;
  auto& sum = world.beside->sum;
  auto const n = sum.room(X::local_size(world.plan), along, pieces);
  auto room = [&] {
    For<B> const purpose(MemoryUse::messages);
    return B::template allocate<T>(n);
  }();
  T* received = nullptr;
  if constexpr (B::has_elements) received = B::data(room);
  exchange<B>(world.comm, [&](auto& comm) {
    sum.begin(comm, along, what, pieces, constants(world.plan, x),
              {received, static_cast<std::size_t>(n)}, values(world.plan, y));
  });
  return room;
}

/// y = the sum of all ranks' x, or this rank's block of it, taken while gradients are made that
/// were put off for it: see `PostedReduction`. Memory: what the others send.
/// @return whether it is there; not if nothing was put off, or nothing carries the sum
template <class Y, class X, class B, class W>
bool sum_beside(W& world, Line along, Exchange what, Local<X, B> const& x, Local<Y, B> const& y) {
  if constexpr (std::same_as<typename X::element, typename W::element>) {
    if (world.beside == nullptr || !world.has_put_off()) return false;
    auto& sum = world.beside->sum;
    [[maybe_unused]] auto const room = begin_sum(world, along, what, {}, x, y);
    exchange<B>(world.comm, [&](auto&) { sum.made(0); });
    {
      Traced const span(world.trace, "beside", [] { return "gradients of weights"; });
      world.make_put_off({&sum, [](void* who) { static_cast<decltype(&sum)>(who)->advance(); }});
    }
    exchange<B>(world.comm, [&](auto&) { sum.wait(); });
    return true;
  }
  return false;
}

// The roads. An array sharded over one of its inner dimensions travels as if that were its
// outermost: blocks are brought together before or after, where more than one lies in the way.

template <Way> struct Travel;

template <> struct Travel<Way::all_gather> {
  template <class Y, class D, class X, class B, class W>
  static void go(W& world, Line along, Local<X, B> const& x, Local<Y, B> const& y) {
    auto const from = split_at<X, D>(world.plan);
    auto const gather = [&](Local<Y, B> const& to) {
      exchange<B>(world.comm, [&](auto& comm) {
        comm.all_gather(along, constants(world.plan, x), values(world.plan, to));
      });
    };
    if (from.outer == 1) return gather(y);
    auto const blocks = world.template make<Y>();
    gather(blocks);
    compute<B>([&](auto k) {
      k.transpose_blocks(along.count, from.outer, from.length * from.inner, data(blocks), data(y));
    });
  }
};

template <> struct Travel<Way::reduce_scatter> {
  template <class Y, class D, class X, class B, class W>
  static void go(W& world, Line along, Local<X, B> const& x, Local<Y, B> const& y) {
    auto const to = split_at<Y, D>(world.plan);
    auto const scatter = [&](Local<X, B> const& from) {
      if (sum_beside(world, along, Exchange::reduce_scatter, from, y)) return;
      exchange<B>(world.comm, [&](auto& comm) {
        reduce_scatter(comm, along, constants(world.plan, from), values(world.plan, y));
      });
    };
    if (to.outer == 1) return scatter(x);
    auto const blocks = world.template make<X>();
    compute<B>([&](auto k) {
      k.transpose_blocks(to.outer, along.count, to.length * to.inner, data(x), data(blocks));
    });
    scatter(blocks);
  }
};

template <> struct Travel<Way::all_reduce> {
  template <class Y, class, class X, class B, class W>
  static void go(W& world, Line along, Local<X, B> const& x, Local<Y, B> const& y) {
    if (sum_beside(world, along, Exchange::all_reduce, x, y)) return;
    if constexpr (B::has_elements) std::ranges::copy(constants(world.plan, x), data(y));
    exchange<B>(world.comm, [&](auto& comm) { all_reduce(comm, along, values(world.plan, y)); });
  }
};

template <> struct Travel<Way::all_to_all> {
  /// From slices of E to slices of D: every rank gets its slice of D of every rank's slice of E.
  template <class Y, class D, class E, class X, class B, class W>
  static void go(W& world, Line along, Local<X, B> const& x, Local<Y, B> const& y) {
    auto const cut = split_at<X, D>(world.plan);
    auto const sent = world.template make<X>();
    auto const received = world.template make<X>();
    auto const n = along.count;
    compute<B>([&](auto k) {
      k.transpose_blocks(cut.outer, n, cut.length / n * cut.inner, data(x), data(sent));
    });
    exchange<B>(world.comm, [&](auto& comm) {
      comm.all_to_all(along, constants(world.plan, sent), values(world.plan, received));
    });
    auto const join = split_at<Y, E>(world.plan);
    compute<B>([&](auto k) {
      k.transpose_blocks(n, join.outer, join.length / n * join.inner, data(received), data(y));
    });
  }
};

template <> struct Travel<Way::cut> {
  template <class Y, class D, class X, class B, class W>
  static void go(W& world, Line along, Local<X, B> const& x, Local<Y, B> const& y) {
    if constexpr (!B::has_elements) return;
    auto const to = split_at<Y, D>(world.plan);
    auto const block = to.length * to.inner;
    for (std::int64_t o = 0; o < to.outer; ++o)
      std::copy_n(data(x) + (o * along.count + along.place) * block, block, data(y) + o * block);
  }
};

template <> struct Travel<Way::embed> {
  template <class Y, class D, class X, class B, class W>
  static void go(W& world, Line along, Local<X, B> const& x, Local<Y, B> const& y) {
    if constexpr (!B::has_elements) return;
    std::ranges::fill(values(world.plan, y), typename Y::element{});
    put<D>(world, along, x, y);
  }
  /// Puts x where this rank's slice of y is.
  template <class D, class Y, class X, class B, class W>
  static void put(W& world, Line along, Local<X, B> const& x, Local<Y, B> const& y) {
    if constexpr (!B::has_elements) return;
    auto const from = split_at<X, D>(world.plan);
    auto const block = from.length * from.inner;
    for (std::int64_t o = 0; o < from.outer; ++o)
      std::copy_n(data(x) + o * block, block, data(y) + (o * along.count + along.place) * block);
  }
};

template <> struct Travel<Way::once> {
  template <class Y, class, class X, class B, class W>
  static void go(W& world, Line along, Local<X, B> const& x, Local<Y, B> const& y) {
    if constexpr (!B::has_elements) return;
    auto const to = values(world.plan, y);
    if (along.place == 0)
      std::ranges::copy(constants(world.plan, x), to.begin());
    else
      std::ranges::fill(to, typename Y::element{});
  }
};

/// The ranks that a move takes place among, seen from this one.
template <class From, class W> constexpr Line line_of(W const& world) {
  auto const whole = line<typename From::axis>(world.plan, world.rank());
  if constexpr (requires { typename Slicing<From>::copies; })
    if constexpr (!std::same_as<typename Slicing<From>::copies, Once>)
      return whole.neighbours(extent<typename Slicing<From>::copies>(world.plan));
  return whole;
}

/// A slice is taken, or joined, only where no inner axis slices the same dimension.
template <class From, class To, class L>
inline constexpr bool slices_in_order = way<From, To> == Way::stay || [] {
  bool ok = true;
  if constexpr (!std::same_as<typename Slicing<From>::dim, void>)
    ok = ok && slices_innermost<typename Slicing<From>::dim, typename From::axis, L>;
  if constexpr (!std::same_as<typename Slicing<To>::dim, void>)
    ok = ok && slices_innermost<typename Slicing<To>::dim, typename To::axis, L>;
  return ok;
}();

/// The move is legal, and what moves is where a type says.
template <class From, class To, class L>
inline constexpr bool can_move =
    has_road<From, To>&& slices_in_order<From, To, L> && !is_unknown<From>;

/// What moves has no padding.
template <class From, class To> constexpr void require_whole(auto const& world, Line along) {
  [[maybe_unused]] auto const check = [&]<class D>(std::type_identity<D>) {
    if constexpr (!std::same_as<D, void>)
      require(D::name, check_split(extent<D>(world.plan), along.count));
  };
  check(std::type_identity<typename Slicing<From>::dim>{});
  check(std::type_identity<typename Slicing<To>::dim>{});
}

/// The way to To, if it is one that takes an exchange: what it costs is on the bill, and nothing in
/// its way.
template <class To, class X> constexpr void bill_move(auto& world, Line along) {
  using From = placement_t<X, typename To::axis>;
  constexpr auto how = way<From, To>;
  using Whole =
      std::conditional_t<how == Way::all_reduce, X, placed_t<X, Replicate<typename To::axis>>>;
  world.ledger.bytes_sent += bytes_sent(how, Whole::local_bytes(world.plan), along.count);
  if constexpr (how != Way::all_reduce && how != Way::once)
    if (along.count > 1) require_whole<From, To>(world, along);
}

/// The dimension that a move joins, or slices; void if none.
template <class From, class To>
using moved_dim_t = typename Slicing<
    std::conditional_t<std::same_as<typename Slicing<To>::dim, void>, From, To>>::dim;

}  // namespace detail

/// Takes a plain tensor, such as a gradient, to placement To on To's axis.
template <Placement To, class W, class X, class B>
constexpr auto redistribute(W& world, Local<X, B> const& x) {
  using From = placement_t<X, typename To::axis>;
  using Y = placed_t<X, To>;
  constexpr auto how = way<From, To>;
  static_assert(has_road<From, To>, "redistribute: no collective leads from here to there");
  static_assert(detail::slices_in_order<From, To, typename X::layout>,
                "redistribute: an inner axis slices this dimension; move that one first");
  if constexpr (how == Way::stay)
    return as<Y>(x);
  else {
    auto const along = detail::line_of<From>(world);
    detail::bill_move<To, X>(world, along);
    if (along.count == 1) return as<Y>(x);
    auto const y = world.template make<Y>();
    if constexpr (how != Way::none) {
      using D = detail::moved_dim_t<From, To>;
      if constexpr (how == Way::all_to_all)
        detail::Travel<how>::template go<Y, D, typename Slicing<From>::dim>(world, along, x, y);
      else
        detail::Travel<how>::template go<Y, D>(world, along, x, y);
    }
    return y;
  }
}

namespace detail {

/// Records that y is x, taken to placement To.
template <Placement To, class X, class Y, class W>
constexpr auto record_move(Var<X, W> const& x, Local<Y, typename W::backend> const& y) {
  using From = placement_t<X, typename To::axis>;
  auto& world = x.world();
  if constexpr (!can_move<From, To, typename X::layout>)
    return world.constant(y);
  else {
    auto const moved = world.record(
        y,
        [gx = x.slot(), &world](auto const& dy) {
          if (gx.wanted()) gx.accumulate(redistribute<cotangent_t<From>>(world, dy));
          world.make_put_off();
        },
        x.slot());
    constexpr auto back = way<cotangent_t<To>, cotangent_t<From>>;
    if constexpr (back == Way::reduce_scatter || back == Way::all_reduce)
      world.put_off_beside(moved.slot());
    return moved;
  }
}

}  // namespace detail

/// Takes x to placement To on To's axis. Its gradient takes the road between the cotangents: the
/// backward pass of an all-gather is a reduce-scatter because the types say so. Where that is a sum
/// and the world has what carries it, gradients of weights that x is multiplied with are made
/// meanwhile.
template <Placement To, class X, class W> constexpr auto redistribute(Var<X, W> const& x) {
  return detail::record_move<To>(x, redistribute<To>(x.world(), x.value()));
}

}  // namespace nxd
