// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <memory>
#include <span>
#include <vector>

#include <nxd/core/random.hpp>
#include <nxd/data/indexed_dataset.hpp>

namespace nxd {

/// Tokens that are read by place: a stream in memory, or all sequences of an indexed data set in a
/// row.
class TokenStream {
 public:
  explicit TokenStream(std::vector<std::int32_t> tokens)
      : tokens_(std::make_shared<std::vector<std::int32_t> const>(std::move(tokens))),
        size_(std::ssize(*tokens_)) {}
  explicit TokenStream(IndexedDataset data)
      : data_(std::make_shared<IndexedDataset const>(std::move(data))), size_(data_->tokens()) {
    std::vector<std::int64_t> starts{0};
    for (std::int64_t i = 0; i < data_->size(); ++i)
      starts.push_back(starts.back() + data_->length(i));
    starts_ = std::make_shared<std::vector<std::int64_t> const>(std::move(starts));
  }

  std::int64_t size() const { return size_; }

  /// Tokens [from, from + count).
  std::vector<std::int32_t> read(std::int64_t from, std::int64_t count) const {
    if (tokens_) return {tokens_->begin() + from, tokens_->begin() + from + count};
    std::vector<std::int32_t> out;
    out.reserve(static_cast<std::size_t>(count));
    auto sequence = std::ranges::upper_bound(*starts_, from) - starts_->begin() - 1;
    for (auto at = from; at < from + count; ++sequence) {
      auto const start = (*starts_)[static_cast<std::size_t>(sequence)];
      auto const take = std::min(data_->length(sequence) - (at - start), from + count - at);
      if (take > 0) data_->read(sequence, at - start, take, out);
      at += std::max<std::int64_t>(take, 0);
    }
    return out;
  }

 private:
  std::shared_ptr<std::vector<std::int32_t> const> tokens_;
  std::shared_ptr<IndexedDataset const> data_;
  std::shared_ptr<std::vector<std::int64_t> const> starts_;
  std::int64_t size_ = 0;
};

/// Samples of a stream: sample i is tokens [first + i S, first + i S + S], one more than its
/// inputs, for labels are the inputs one place on. Neighbours share one token, never an input.
class PackedDataset {
 public:
  PackedDataset(TokenStream stream, std::int64_t seq_length)
      : PackedDataset(stream, seq_length, 0,
                      std::max<std::int64_t>(0, (stream.size() - 1) / seq_length)) {}

  std::int64_t size() const { return count_; }
  std::int64_t seq_length() const { return seq_length_; }

  /// S + 1 tokens.
  std::vector<std::int32_t> sample(std::int64_t i) const {
    return stream_.read((first_ + i) * seq_length_, seq_length_ + 1);
  }

  /// Samples [from, from + count) as a data set of their own.
  PackedDataset part(std::int64_t from, std::int64_t count) const {
    return {stream_, seq_length_, first_ + from, count};
  }

  /// A 64-bit name for the samples: a hash of their number, length, and of samples spread over
  /// them.
  std::uint64_t fingerprint() const {
    auto h = hash(std::to_string(count_) + " of " + std::to_string(seq_length_));
    for (std::int64_t i = 0; i < std::min<std::int64_t>(64, count_); ++i) {
      auto const tokens = sample(i * (count_ / std::min<std::int64_t>(64, count_)));
      h = hash({reinterpret_cast<char const*>(tokens.data()), tokens.size() * sizeof tokens[0]}, h);
    }
    return h;
  }

 private:
  PackedDataset(TokenStream stream, std::int64_t seq_length, std::int64_t first, std::int64_t count)
      : stream_(std::move(stream)), seq_length_(seq_length), first_(first), count_(count) {}

  TokenStream stream_;
  std::int64_t seq_length_, first_, count_;
};

/// What is trained on, and what is held out.
struct Split {
  PackedDataset train, validation;
};

/// Cuts the last `share` of the samples off, for validation; none is in both.
inline Split split(PackedDataset const& all, double share) {
  auto const held = static_cast<std::int64_t>(static_cast<double>(all.size()) * share);
  return {all.part(0, all.size() - held), all.part(all.size() - held, held)};
}

/// The tokens of a sample are ones that the model knows. @throws ConfigError naming both numbers
inline void check_vocabulary(std::span<std::int32_t const> tokens, std::int64_t vocabulary) {
  for (auto const t : tokens)
    if (t < 0 || t >= vocabulary)
      throw ConfigError("the data has token " + std::to_string(t) +
                        ", but the model's vocabulary has " + std::to_string(vocabulary) +
                        "; set model.vocab_size, or another tokenizer");
}

}  // namespace nxd
