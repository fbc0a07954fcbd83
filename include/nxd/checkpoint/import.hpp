// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nxd/checkpoint/huggingface.hpp>
#include <nxd/checkpoint/rewrite.hpp>

namespace nxd {

/// Tensors that a model has: their names and shapes.
using WantedTensors = std::map<std::string, std::vector<std::int64_t>>;

/// How to import.
struct ImportOptions {
  std::optional<DType> dtype;  ///< of all tensors; none: as they are stored
  std::int64_t files = 1;
};

/// What was imported.
struct Imported {
  SaveResult saved;
  std::vector<std::string> unused;  ///< tensors of the folder that the model does not have
};

namespace detail {

/// The tensors of a folder that a model wants, all there and in their shapes.
template <Storage S>
std::vector<TensorPlan> plan_import(HuggingFaceFolder<S> const& folder, std::string const& where,
                                    WantedTensors const& wanted, std::optional<DType> dtype) {
  std::vector<TensorPlan> plan;
  std::vector<std::string> missing;
  for (auto const& [name, shape] : wanted) {
    auto const found = folder.tensors().find(name);
    if (found == folder.tensors().end()) {
      missing.push_back(name);
      continue;
    }
    auto const& tensor = found->second.entry;
    if (tensor.shape != shape)
      throw ConfigError(where + ": tensor '" + name + "' has the shape " + text(tensor.shape) +
                        ", the model of its config.json has " + text(shape));
    if (!convertible(tensor.dtype, DType::f32))
      throw ConfigError(where + ": tensor '" + name + "' is stored as " +
                        std::string(nxd::name(tensor.dtype)) + ", which is no weight");
    plan.push_back({{"model", name}, dtype.value_or(tensor.dtype), shape});
  }
  if (!missing.empty())
    throw ConfigError(
        where + ": has no tensor '" + missing.front() + "'" +
        (missing.size() > 1 ? ", and lacks " + std::to_string(missing.size() - 1) + " more" : "") +
        ", which the model of its config.json has");
  return plan;
}

}  // namespace detail

/// Makes a checkpoint of a Hugging Face folder, which is all of `from`, with weights alone: at step
/// 0, the first of a new run in a directory that has none. Memory: at most 20 MiB, and the headers.
/// @throws ConfigError naming the tensor if one that is wanted is missing or has another shape;
/// CorruptInput and IoError as `HuggingFaceFolder` does
template <Storage From, Storage To>
Imported import_huggingface(From& from, To& to, WantedTensors const& wanted,
                            std::string const& state, ImportOptions const& options) {
  HuggingFaceFolder<From> folder(from);
  auto const plan = detail::plan_import(folder, from.where(""), wanted, options.dtype);
  Imported imported;
  for (auto const& [name, place] : folder.tensors())
    if (!wanted.contains(name)) imported.unused.push_back(name);
  Manifest manifest;  // nothing was trained, so nothing was measured
  manifest.info.health.loss = manifest.info.health.grad_norm =
      std::numeric_limits<double>::quiet_NaN();
  imported.saved = write_checkpoint(
      to, std::move(manifest), plan, options.files, state,
      [&](Piece const& piece) { folder.fill(piece); }, [](Manifest const&) {});
  return imported;
}

}  // namespace nxd
