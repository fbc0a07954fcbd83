// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <list>
#include <string>
#include <vector>

#include <nxd/checkpoint/fill.hpp>

namespace nxd {

/// An entry, opened to be read block by block: files stay open, and the chunk that each was last
/// read at stays in memory. Memory: `files_open` times 4 MiB.
template <Storage S> class EntryReader {
 public:
  static constexpr std::size_t files_open = 8;

  /// @throws CorruptInput if the entry's manifest is not sound, or a file has not its size
  EntryReader(S& storage, std::string entry)
      : storage_(&storage),
        entry_(std::move(entry)),
        manifest_(parse_manifest(detail::read_manifest(storage, entry_),
                                 storage.where(entry_ + "/" + manifest_name))) {}
  EntryReader(EntryReader const&) = delete;
  EntryReader& operator=(EntryReader const&) = delete;

  Manifest const& manifest() const { return manifest_; }
  std::string where() const { return storage_->where(entry_); }

  /// The text that was saved beside the tensors.
  std::string state() {
    return detail::read_checked_text(*storage_, entry_, *manifest_.file(state_name), {});
  }

  /// Fills a piece, whatever parts its tensor is stored in.
  /// @throws CorruptInput if a file is not what was written, ConfigError if there is no such tensor
  void read(Piece const& piece) {
    auto const& tensor = detail::record_of(piece, manifest_, where());
    if (volume(piece.box) == 0) return;
    for (auto const& chunk : tensor.chunks)
      if (auto common = intersection(chunk.box, piece.box); common)
        detail::read_common(file(chunk.file), {&chunk, &tensor, &piece, std::move(*common)});
  }

 private:
  /// The file, opened; the one that was not used for longest makes room for it.
  detail::CheckedFile<S>& file(std::string const& name) {
    auto const found =
        std::ranges::find_if(files_, [&](auto const& open) { return open.record().name == name; });
    if (found != files_.end()) {
      files_.splice(files_.begin(), files_, found);
      return files_.front();
    }
    if (files_.size() == files_open) files_.pop_back();
    return files_.emplace_front(*storage_, entry_, *manifest_.file(name), Patience{});
  }

  S* storage_;
  std::string entry_;
  Manifest manifest_;
  std::list<detail::CheckedFile<S>> files_;
};

}  // namespace nxd
