// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <exception>
#include <span>
#include <vector>

#include <nxd/autodiff/world.hpp>
#include <nxd/comm/posted_gather.hpp>
#include <nxd/core/error.hpp>

namespace nxd {

/// Weights of which each rank of a line has updated a part, on their way to all of them, in the
/// order in which they began. Nobody reads a weight too soon: `Var::value` waits for it, and so for
/// those that began before it. No rank needs to be asked for what it has begun to send, and so one
/// rank may read a weight that the others do not. Messages: those of the gathers; memory: none.
template <class World> class GathersUnderWay {
  using B = typename World::backend;
  using Short = typename World::element;
  using Wide = accumulator_t<Short>;

 public:
  /// @param world outlives it
  explicit GathersUnderWay(World& world) : world_(world) {}
  GathersUnderWay(GathersUnderWay const&) = delete;
  GathersUnderWay& operator=(GathersUnderWay const&) = delete;

  /// Waits for all of them, but not on the way out of an error: then who reads one of the weights
  /// gets an error too.
  ~GathersUnderWay() {
    try {
      if (std::uncaught_exceptions() == 0) finish();
    } catch (...) {  // a rank is gone: nothing more will come
    }
    for (; first_ < end_; ++first_) flights_[first_].cell->arrivals = &lost;
    if (world_.weight_arrivals == &arrivals_) world_.weight_arrivals = nullptr;
  }

  /// Begins with a weight whose part this rank has set: a block of `detail::RankBlocks`. It must
  /// have a gradient's cell, or nobody would wait for it.
  template <class X> void post(Line along, Var<X, World> const& weight) {
    begin<typename X::element>(along, weight.slot().cell(), weight.value().data,
                               X::local_size(world_.plan));
  }

  /// Goes on with what has come.
  void poll() {
    for (auto i = first_; i < end_ && flights_[i].gather.advance(); ++i) {
    }
  }

  /// Returns when all weights are there.
  void finish() {
    while (first_ < end_) finish_first();
  }

 private:
  struct Flight {
    detail::CellState* cell = nullptr;
    typename B::template buffer<Wide> wide;     ///< the weight's memory
    typename B::template buffer<Short> narrow;  ///< if it is not floats
    PostedGather<typename World::communicator> gather;
  };

  template <class E>
  void begin(Line along, detail::CellState* cell, typename B::template buffer<E> const& weight,
             std::int64_t n) {
    if (end_ == flights_.size()) flights_.emplace_back();
    auto& f = flights_[end_++];
    f.cell = cell;
    if constexpr (std::same_as<E, Wide>)
      f.wide = weight;
    else
      f.narrow = weight;
    E* first = nullptr;
    if constexpr (B::has_elements) first = B::data(weight);
    exchange<B>(world_.comm, [&](auto& comm) {
      f.gather.post(comm, along, std::span<E>(first, static_cast<std::size_t>(n)));
    });
    cell->arrivals = world_.weight_arrivals = &arrivals_;
    poll();
  }

  static constexpr WeightArrivals lost{
      nullptr,
      [](void*, detail::CellState const&) {
        throw Error(ExitCode::internal,
                    "a weight was on its way from other ranks when its optimizer ended with an "
                    "error; load the weights again");
      },
      [](void*) {}};

  void finish_first() {
    auto& f = flights_[first_];
    f.gather.wait();
    f.cell->arrivals = nullptr;
    f.wide = {}, f.narrow = {};
    if (++first_ < end_) return;
    first_ = end_ = 0;
    if (world_.weight_arrivals == &arrivals_) world_.weight_arrivals = nullptr;
  }
  void wait_for(detail::CellState const& cell) {
    while (cell.arrivals == &arrivals_) finish_first();
  }

  World& world_;
  WeightArrivals arrivals_{this,
                           [](void* who, detail::CellState const& cell) {
                             static_cast<GathersUnderWay*>(who)->wait_for(cell);
                           },
                           [](void* who) { static_cast<GathersUnderWay*>(who)->poll(); }};
  std::vector<Flight> flights_;
  std::size_t first_ = 0, end_ = 0;  ///< those that are under way
};

}  // namespace nxd
