// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <nxd/checkpoint/blocks.hpp>
#include <nxd/checkpoint/reader.hpp>
#include <nxd/checkpoint/same_state.hpp>
#include <nxd/checkpoint/verify.hpp>

namespace nxd {

/// An element that two checkpoints have in common, and not its value.
struct ElementDifference {
  TensorKey tensor;
  std::vector<std::int64_t> index;
  std::string first, second;  ///< the values
};

/// In what two checkpoints differ. Which layouts wrote them makes no difference.
struct CheckpointDifference {
  std::int64_t tensors = 0;       ///< that both have
  std::vector<TensorKey> values;  ///< same shape and type, other elements
  std::vector<TensorKey> kinds;   ///< other shapes or types
  std::vector<TensorKey> only_first, only_second;
  std::optional<ElementDifference> element;  ///< the first one of the first tensor in `values`
  std::vector<std::string> state;            ///< keys of the state, "steps: 3 and 5"

  bool empty() const { return count() == 0 && state.empty(); }

  /// Tensors that are not the same in both.
  std::int64_t count() const {
    return std::ssize(values) + std::ssize(kinds) + std::ssize(only_first) +
           std::ssize(only_second);
  }
};

/// What of two checkpoints is compared.
enum class Compare : std::uint8_t {
  all,      ///< every tensor, and the state
  weights,  ///< the tensors of the model
};

namespace detail {

/// An element as a person reads it, with as many digits as tell it from its neighbours.
inline std::string element_text(DType type, std::byte const* bytes) {
  char digits[64];
  auto const shown = [&](auto x) {
    return std::string(digits, std::to_chars(digits, digits + sizeof digits, x).ptr);
  };
  auto const as = [&]<class T>(T x) {
    std::memcpy(&x, bytes, sizeof x);
    return x;
  };
  switch (type) {
    case DType::f32: return shown(as(float{}));
    case DType::f64: return shown(as(double{}));
    case DType::bf16: return shown(to_float(as(bf16{})));
    case DType::f16: return shown(to_float(as(fp16{})));
    case DType::i32: return shown(as(std::int32_t{}));
    default: return shown(as(std::int64_t{}));
  }
}

/// The index of element `offset` of a row-major box.
inline std::vector<std::int64_t> index_at(Box const& box, std::int64_t offset) {
  auto index = box.start;
  for (auto d = box.extent.size(); d-- > 0; offset /= box.extent[d])
    index[d] += offset % box.extent[d];
  return index;
}

/// The first element that is not the same in both. Reads both tensors that far.
template <Storage A, Storage B>
std::optional<ElementDifference> first_difference(EntryReader<A>& a, EntryReader<B>& b,
                                                  TensorKey const& key,
                                                  TensorRecord const& tensor) {
  std::optional<ElementDifference> found;
  std::vector<std::byte> left, right;
  auto const width = size_of(tensor.dtype);
  for_each_block(tensor.shape, block_elements, [&](Box const& box) {
    if (found) return;
    left.resize(static_cast<std::size_t>(volume(box) * width));
    right.resize(left.size());
    a.read({key.name, tensor.shape, box, tensor.dtype, left, key.kind});
    b.read({key.name, tensor.shape, box, tensor.dtype, right, key.kind});
    auto const at = std::ranges::mismatch(left, right).in1 - left.begin();
    if (at == std::ssize(left)) return;
    auto const element = at / width;
    found = {key, index_at(box, element), element_text(tensor.dtype, left.data() + element * width),
             element_text(tensor.dtype, right.data() + element * width)};
  });
  return found;
}

}  // namespace detail

/// Compares two checkpoints, of any layouts: by the digests that their manifests have, and the
/// first tensor that differs by its elements. Memory: at most 80 MiB, and the manifests.
/// @throws CorruptInput if an entry is not what was written
template <Storage A, Storage B>
CheckpointDifference diff(A& first, std::string const& first_entry, B& second,
                          std::string const& second_entry, Compare what = Compare::all) {
  EntryReader<A> a(first, first_entry);
  EntryReader<B> b(second, second_entry);
  auto const wanted = [&](TensorKey const& key) {
    return what == Compare::all || key.kind == "model";
  };
  CheckpointDifference found;
  for (auto const& [key, tensor] : a.manifest().tensors) {
    if (!wanted(key)) continue;
    auto const other = b.manifest().tensors.find(key);
    if (other == b.manifest().tensors.end()) {
      found.only_first.push_back(key);
      continue;
    }
    ++found.tensors;
    if (other->second.shape != tensor.shape || other->second.dtype != tensor.dtype)
      found.kinds.push_back(key);
    else if (other->second.digest != tensor.digest)
      found.values.push_back(key);
  }
  for (auto const& [key, tensor] : b.manifest().tensors)
    if (wanted(key) && !a.manifest().tensors.contains(key)) found.only_second.push_back(key);
  if (!found.values.empty()) {
    auto const& key = found.values.front();
    found.element = detail::first_difference(a, b, key, a.manifest().tensors.at(key));
    if (!found.element)
      throw CorruptInput(a.where() + " or " + b.where() + ": the digest of " + text(key) +
                         " is not that of its elements; verify both");
  }
  if (what == Compare::all)
    detail::compare_json("", parse_json(a.state(), a.where() + "/" + state_name),
                         parse_json(b.state(), b.where() + "/" + state_name), found.state);
  return found;
}

}  // namespace nxd
