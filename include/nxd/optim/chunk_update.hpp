// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <span>
#include <string_view>
#include <vector>

#include <nxd/optim/chunk_state.hpp>
#include <nxd/optim/state_portions.hpp>
#include <nxd/optim/update.hpp>
#include <nxd/optim/weight_gather.hpp>

namespace nxd {

/// Updates chunks of weights, in pieces that fit a cache: memory is passed over once, whatever is
/// done to them. Each piece that is ready is told of.
///
/// `weights` are where those of the chunk begin. `runs` say what number in its tensor each element
/// of the chunk has, which rounding by chance asks for.
template <class World, class Update> class ChunkUpdate {
  using B = typename World::backend;
  using Short = typename World::element;
  using T = accumulator_t<Short>;
  static constexpr std::size_t moments = Update::moments.size();
  using State = ChunkState<World, moments>;

 public:
  ChunkUpdate(Update update, WeightPrecision precision) : update_(update), precision_(precision) {}

  /// What the update remembers of every element.
  std::span<std::string_view const> moment_names() const { return nxd::moment_names(update_); }

  WeightPrecision const& precision() const { return precision_; }

  /// Weights that are as long as the numbers they are updated in.
  void operator()(State const& s, UpdateStep const& step, T* weights, PieceMade made) const {
    in_pieces(s, {}, [&](auto k, Piece const& piece) {
      update(k, s, step, piece, weights + piece.first, moments_of(s, piece.first));
      made(piece.first, piece.count);
    });
  }

  /// Shorter ones: rounded from their masters, or else they and their moments are widened, updated,
  /// and rounded again.
  void operator()(State const& s, UpdateStep const& step, Short* weights,
                  std::vector<Run> const& runs, PieceMade made) const {
    precision_.master ? update_masters(s, step, weights, runs, made)
                      : update_short(s, step, weights, runs, made);
  }

  /// Short weights as their masters are, after so many steps.
  void round_masters(State const& s, std::int64_t steps, Short* weights,
                     std::vector<Run> const& runs, PieceMade made) const {
    in_pieces(s, runs, [&](auto k, Piece const& piece) {
      round(k, piece, {steps, 0}, B::data(s.master) + piece.first, weights + piece.first);
      made(piece.first, piece.count);
    });
  }

 private:
  /// A part of a chunk, and what numbers its elements are in their tensors.
  struct Piece {
    std::int64_t first, count;
    std::span<Run const> runs;
  };

  /// Calls `work(kernels, piece)` for each.
  void in_pieces(State const& s, std::vector<Run> const& runs, auto const& work) const {
    compute<B>([&](auto k) {
      k.in_pieces(s.chunk.count, [&](std::int64_t first, std::int64_t count) {
        work(k, Piece{first, count, runs_within(runs, first, count)});
      });
    });
  }

  /// A piece of the weights; it and its moments begin there.
  void update(auto k, State const& s, UpdateStep const& step, Piece const& piece, T* weights,
              std::array<T*, moments> const& moment) const {
    T const* const gradient = B::data(s.gradient) + piece.first;
    update_(k, step, piece.count, gradient, weights, moment);
  }

  std::array<T*, moments> moments_of(State const& s, std::int64_t first) const {
    std::array<T*, moments> moment{};
    for (std::size_t m = 0; m < moment_names().size(); ++m)
      moment[m] = B::data(s.moment[m]) + first;
    return moment;
  }

  void update_masters(State const& s, UpdateStep const& step, Short* weights,
                      std::vector<Run> const& runs, PieceMade made) const {
    in_pieces(s, runs, [&](auto k, Piece const& piece) {
      auto* const masters = B::data(s.master) + piece.first;
      update(k, s, step, piece, masters, moments_of(s, piece.first));
      round(k, piece, {step.number, 0}, masters, weights + piece.first);
      made(piece.first, piece.count);
    });
  }

  void update_short(State const& s, UpdateStep const& step, Short* weights,
                    std::vector<Run> const& runs, PieceMade made) const {
    in_pieces(s, runs, [&](auto k, Piece const& piece) {
      auto const widened = [&](std::size_t slot, Short const* from) {
        auto* const wide = B::has_elements ? detail::piece_room<T>(slot, piece.count) : nullptr;
        k.cast(piece.count, from + piece.first, wide);
        return wide;
      };
      auto* const wide = widened(0, weights);
      std::array<T*, moments> moment{};
      for (std::size_t m = 0; m < moment_names().size(); ++m)
        moment[m] = widened(1 + m, B::data(s.short_moment[m]));
      update(k, s, step, piece, wide, moment);
      round(k, piece, {step.number, 0}, wide, weights + piece.first);
      for (std::size_t m = 0; m < moment_names().size(); ++m)
        round(k, piece, {step.number, 1 + m}, moment[m], B::data(s.short_moment[m]) + piece.first);
      made(piece.first, piece.count);
    });
  }

  /// Which of the numbers of an element that are rounded in a step: the weight, then its moments.
  struct Rounded {
    std::int64_t step;
    std::size_t what;
  };

  void round(auto k, Piece const& piece, Rounded r, T const* from, Short* to) const {
    if (precision_.rounding == Rounding::nearest) return k.cast(piece.count, from, to);
    auto const draw = static_cast<std::uint64_t>(r.step) * (1 + moments) + r.what;
    k.cast_stochastic(piece.runs, Noise{{precision_.seed, "rounding", draw}}, from, to);
  }

  Update update_;
  WeightPrecision precision_;
};

}  // namespace nxd
