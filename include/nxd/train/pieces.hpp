// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include <nxd/checkpoint/piece.hpp>
#include <nxd/optim/optimizer.hpp>
#include <nxd/optim/state_portions.hpp>

namespace nxd {

/// Which pieces are wanted: those that this rank has to write, or all that it holds.
enum class Holding : std::uint8_t {
  owned,   ///< no rank before it holds the same: together the ranks' pieces cover each tensor once
  shared,  ///< likewise, but ranks that hold the same share it evenly
  all,
};

namespace detail {

/// What one of the ranks that hold the same portions writes of them: some rows of the large ones,
/// and of the small ones each in turn. `turn` is the number of the parameter.
inline std::vector<Portion> share(std::vector<Portion> const& portions, Holders among,
                                  std::int64_t turn) {
  constexpr std::int64_t large = std::int64_t{1} << 14;
  std::vector<Portion> mine;
  for (auto const& p : portions) {
    auto const size = p.size();
    if (size < large || p.extent.front() < among.count) {
      if (turn % among.count == among.place) mine.push_back(p);
      continue;
    }
    auto const row = size / p.extent.front();
    auto const first = p.extent.front() * among.place / among.count;
    auto const end = p.extent.front() * (among.place + 1) / among.count;
    mine.push_back(p);
    mine.back().start.front() += first;
    mine.back().extent.front() = end - first;
    mine.back().offset += first * row;
  }
  return mine;
}

/// What is wanted of the portions that a rank holds together with others.
inline std::vector<Portion> wanted(std::vector<Portion> portions, Holders among, Holding which,
                                   std::int64_t turn) {
  if (which == Holding::shared) return share(portions, among, turn);
  if (which == Holding::owned && among.place != 0) return {};
  return portions;
}

template <class T>
void add_pieces(std::vector<Piece>& pieces, std::vector<Portion> const& portions,
                std::string const& suffix, std::string const& kind, T* elements) {
  for (auto const& p : portions) {
    if (p.size() == 0) continue;
    auto* const first = elements == nullptr ? nullptr : elements + p.offset;  // none in a dry run
    auto const bytes =
        std::as_writable_bytes(std::span<T>(first, static_cast<std::size_t>(p.size())));
    pieces.push_back({p.name + suffix, p.shape, Box{p.start, p.extent}, dtype_v<T>, bytes, kind});
  }
}

}  // namespace detail

/// A rank's pieces of a model's parameters, in place: what is read into them is in the model.
template <class Model> std::vector<Piece> model_pieces(Model const& model, Holding which) {
  std::vector<Piece> pieces;
  std::int64_t turn = 0;
  model.visit([&]<class X, class W, class M>(ParameterInfo const& info, Var<X, W> const& v, M m) {
    auto const i = turn++;
    if (which != Holding::all && info.sharing == Sharing::again) return;
    auto const& world = v.world();
    auto const held = portions<X>(info, world.plan, world.rank(), m);
    detail::add_pieces(pieces, detail::wanted(held, holders<X>(world.plan, world.rank()), which, i),
                       "", "model", data(v.value()));
  });
  return pieces;
}

/// A rank's pieces of an optimizer's state, in place: `model.norm.weight.exp_avg`, and so on,
/// whichever ranks the state is split over.
template <class Model, class Strategy, class World>
std::vector<Piece> optimizer_pieces(Model const& model, Optimizer<Strategy, World> const& optimizer,
                                    Holding which) {
  using B = typename World::backend;
  std::vector<Piece> pieces;
  std::int64_t turn = 0;
  model.visit([&]<class X, class W, class M>(ParameterInfo const& info, Var<X, W> const& v, M m) {
    auto const i = turn++;
    auto const& state = optimizer.state(static_cast<std::size_t>(i));
    if (which != Holding::all && info.sharing == Sharing::again) return;
    auto const& world = v.world();
    auto const held = chunk_portions(portions<X>(info, world.plan, world.rank(), m), state.chunk);
    auto const mine = detail::wanted(held, optimizer.template holders<X>(), which, i);
    auto const names = optimizer.moment_names();
    for (std::size_t k = 0; k < names.size(); ++k) {
      auto const suffix = "." + std::string(names[k]);
      if (optimizer.template has_short_moments<X>())
        detail::add_pieces(pieces, mine, suffix, "optim", B::data(state.short_moment[k]));
      else
        detail::add_pieces(pieces, mine, suffix, "optim", B::data(state.moment[k]));
    }
  });
  return pieces;
}

namespace detail {

/// The parameters at the length that the optimizer keeps them in.
template <class Model, class Strategy, class World>
std::vector<Piece> master_pieces(Model const& model, Optimizer<Strategy, World> const& optimizer,
                                 Holding which) {
  std::vector<Piece> pieces;
  std::int64_t turn = 0;
  model.visit([&]<class X, class W, class M>(ParameterInfo const& info, Var<X, W> const& v, M m) {
    auto const i = turn++;
    auto const& state = optimizer.state(static_cast<std::size_t>(i));
    if (which != Holding::all && info.sharing == Sharing::again) return;
    auto const all = portions<X>(info, v.world().plan, v.world().rank(), m);
    auto const held = chunk_portions(all, state.chunk);
    add_pieces(pieces, wanted(held, optimizer.template holders<X>(), which, i), "", "model",
               World::backend::data(state.master));
  });
  return pieces;
}

}  // namespace detail

/// All that a checkpoint has of a training: the optimizer's state, and the parameters, which are
/// its masters if it has some. So a file knows nothing of how short the numbers were in a run. What
/// has been read into them `Optimizer::give_weights` passes on to the model.
template <class Model, class Strategy, class World>
std::vector<Piece> training_pieces(Model const& model, Optimizer<Strategy, World> const& optimizer,
                                   Holding which) {
  auto all = optimizer.has_masters() ? detail::master_pieces(model, optimizer, which)
                                     : model_pieces(model, which);
  for (auto& piece : optimizer_pieces(model, optimizer, which)) all.push_back(std::move(piece));
  return all;
}

}  // namespace nxd
