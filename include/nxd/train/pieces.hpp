// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include <nxd/checkpoint/piece.hpp>
#include <nxd/optim/optimizer.hpp>
#include <nxd/optim/state_portions.hpp>

namespace nxd {

/// Which pieces are wanted: those that this rank has to write, or all that it holds.
enum class Holding : std::uint8_t {
  owned,  ///< no rank before it holds the same: together the ranks' pieces cover each tensor once
  all,
};

namespace detail {

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
  model.visit([&]<class X, class W, class M>(ParameterInfo const& info, Var<X, W> const& v, M m) {
    auto const& world = v.world();
    bool const first =
        info.sharing != Sharing::again && is_first_holder<X>(world.plan, world.rank());
    if (which == Holding::owned && !first) return;
    detail::add_pieces(pieces, portions<X>(info, world.plan, world.rank(), m), "", "model",
                       data(v.value()));
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
  std::size_t i = 0;
  model.visit([&]<class X, class W, class M>(ParameterInfo const& info, Var<X, W> const& v, M m) {
    auto const& state = optimizer.state(i++);
    bool const first = info.sharing != Sharing::again && optimizer.template owns<X>();
    if (which == Holding::owned && !first) return;
    auto const& world = v.world();
    auto const held = chunk_portions(portions<X>(info, world.plan, world.rank(), m), state.chunk);
    auto const& names = Strategy::update::moments;
    for (std::size_t k = 0; k < names.size(); ++k)
      detail::add_pieces(pieces, held, "." + std::string(names[k]), "optim",
                         B::data(state.moment[k]));
  });
  return pieces;
}

/// A rank's pieces of all that training changes.
template <class Model, class Optimizer>
std::vector<Piece> training_pieces(Model const& model, Optimizer const& optimizer, Holding which) {
  auto pieces = model_pieces(model, which);
  for (auto& piece : optimizer_pieces(model, optimizer, which)) pieces.push_back(std::move(piece));
  return pieces;
}

}  // namespace nxd
