// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <nxd/data/mapped_file.hpp>

namespace nxd {

/// Megatron's index of token sequences, every claim in it checked: "MMIDIDX\0\0", version 1 (u64),
/// dtype code (u8), sequences (u64), document marks (u64), lengths (i32 each), byte offsets in the
/// `.bin` (i64 each), document marks (i64 each, from 0 to the number of sequences).
class SequenceIndex {
 public:
  /// `index` and `data` are the bytes of `path` and of `data_path`, and outlive this.
  /// @throws CorruptInput if the index lies, saying where
  SequenceIndex(std::span<std::byte const> index, std::span<std::byte const> data,
                std::string const& path, std::string const& data_path)
      : index_(index), data_(data) {
    auto const fail = [&](std::string const& what) { throw CorruptInput(path + ": " + what); };
    if (index.size() < header) fail("ends within its header");
    if (std::memcmp(index.data(), "MMIDIDX\0\0", 9) != 0) fail("does not begin with MMIDIDX");
    if (auto const v = at<std::uint64_t>(9); v != 1)
      fail("has version " + std::to_string(v) + "; only 1 is known");
    code_ = at<std::uint8_t>(17);
    if (width(code_) == 0)
      fail("has dtype code " + std::to_string(code_) + ", which no integer has");
    auto const sequences = at<std::uint64_t>(18), marks = at<std::uint64_t>(26);
    auto const room = index.size() - header;
    if (sequences > room / 12 || marks > room / 8 || 12 * sequences + 8 * marks != room)
      fail("says " + std::to_string(sequences) + " sequences and " + std::to_string(marks) +
           " document marks, which is not what its size has room for");
    count_ = static_cast<std::int64_t>(sequences);
    check_sequences(fail, data_path);
    check_marks(fail, static_cast<std::int64_t>(marks));
  }

  std::int64_t size() const { return count_; }
  std::int64_t tokens() const { return tokens_; }
  std::int64_t length(std::int64_t sequence) const {
    return at<std::int32_t>(header + 4 * sequence);
  }

  /// Appends tokens [from, from + count) of a sequence; one that has no place in 32 bits is -1.
  void read(std::int64_t sequence, std::int64_t from, std::int64_t count,
            std::vector<std::int32_t>& out) const {
    auto const bytes = width(code_);
    auto const* p = data_.data() + offset(sequence) + from * bytes;
    for (std::int64_t i = 0; i < count; ++i, p += bytes) out.push_back(token(p));
  }

 private:
  static constexpr std::int64_t header = 34;

  static constexpr std::int64_t width(std::uint8_t code) {
    constexpr std::array<std::int64_t, 9> widths{0, 1, 1, 2, 4, 8, 0, 0, 2};
    return code < widths.size() ? widths[code] : 0;
  }

  template <class T> T at(std::int64_t place) const {
    T value;
    std::memcpy(&value, index_.data() + place, sizeof value);
    return value;
  }
  std::int64_t offset(std::int64_t sequence) const {
    return at<std::int64_t>(header + 4 * count_ + 8 * sequence);
  }

  std::int32_t token(std::byte const* p) const {
    auto const as = [p]<class T>(T value) {
      std::memcpy(&value, p, sizeof value);
      return std::in_range<std::int32_t>(value) ? static_cast<std::int32_t>(value) : -1;
    };
    switch (code_) {
      case 1: return as(std::uint8_t{});
      case 2: return as(std::int8_t{});
      case 3: return as(std::int16_t{});
      case 8: return as(std::uint16_t{});
      case 5: return as(std::int64_t{});
      default: return as(std::int32_t{});
    }
  }

  void check_sequences(auto const& fail, std::string const& data_path) {
    auto const bytes = static_cast<std::int64_t>(data_.size());
    for (std::int64_t i = 0; i < count_; ++i) {
      auto const tokens = length(i), first = offset(i);
      if (tokens < 0) fail("gives sequence " + std::to_string(i) + " a negative length");
      if (first < 0 || first > bytes || tokens > (bytes - first) / width(code_))
        fail("puts sequence " + std::to_string(i) + " beyond the end of " + data_path);
      tokens_ += tokens;
    }
  }

  void check_marks(auto const& fail, std::int64_t marks) const {
    std::int64_t before = 0;
    for (std::int64_t i = 0; i < marks; ++i) {
      auto const mark = at<std::int64_t>(header + 12 * count_ + 8 * i);
      if (mark < before || mark > count_)
        fail("has a document mark " + std::to_string(mark) + " out of order");
      before = mark;
    }
  }

  std::span<std::byte const> index_, data_;
  std::uint8_t code_ = 0;
  std::int64_t count_ = 0, tokens_ = 0;
};

/// Token sequences in Megatron's `PREFIX.bin` and `PREFIX.idx`, mapped.
class IndexedDataset {
 public:
  /// @throws IoError if a file is missing, CorruptInput if one of them lies, saying where
  explicit IndexedDataset(std::string const& prefix)
      : files_{MappedFile(prefix + ".idx"), MappedFile(prefix + ".bin")},
        sequences_(files_[0].bytes(), files_[1].bytes(), files_[0].path(), files_[1].path()) {}

  std::int64_t size() const { return sequences_.size(); }
  std::int64_t tokens() const { return sequences_.tokens(); }
  std::int64_t length(std::int64_t sequence) const { return sequences_.length(sequence); }

  /// Appends tokens [from, from + count) of a sequence; one that has no place in 32 bits is -1.
  void read(std::int64_t sequence, std::int64_t from, std::int64_t count,
            std::vector<std::int32_t>& out) const {
    sequences_.read(sequence, from, count, out);
  }

 private:
  std::array<MappedFile, 2> files_;  // what is mapped stays where it is when this moves
  SequenceIndex sequences_;
};

/// Writes what `IndexedDataset` reads, tokens as i32, each sequence a document of its own.
class IndexedDatasetWriter {
 public:
  explicit IndexedDatasetWriter(std::string prefix)
      : prefix_(std::move(prefix)), data_(prefix_ + ".bin", std::ios::binary) {
    if (!data_) throw IoError(prefix_ + ".bin: cannot be written");
  }

  void add(std::span<std::int32_t const> tokens) {
    offsets_.push_back(end_);
    lengths_.push_back(static_cast<std::int32_t>(tokens.size()));
    put(data_, tokens);
    end_ += static_cast<std::int64_t>(tokens.size_bytes());
  }

  /// Writes the index: without it nothing can be read. @throws IoError if the disk is full
  void finish() {
    std::ofstream index(prefix_ + ".idx", std::ios::binary);
    index.write("MMIDIDX\0\0", 9);
    std::uint64_t const numbers[] = {lengths_.size(), lengths_.size() + 1};
    std::vector<std::int64_t> marks(lengths_.size() + 1);
    for (std::size_t i = 0; i < marks.size(); ++i) marks[i] = static_cast<std::int64_t>(i);
    std::uint64_t const version[] = {1};
    std::uint8_t const code[] = {4};
    put(index, std::span(version));
    put(index, std::span(code));
    put(index, std::span(numbers));
    put(index, std::span(lengths_));
    put(index, std::span(offsets_));
    put(index, std::span(marks));
    data_.flush();
    index.flush();
    if (!data_ || !index) throw IoError(prefix_ + ": cannot be written; is the disk full?");
  }

 private:
  static void put(std::ofstream& file, auto values) {
    file.write(reinterpret_cast<char const*>(values.data()),
               static_cast<std::streamsize>(values.size_bytes()));
  }

  std::string prefix_;
  std::ofstream data_;
  std::vector<std::int32_t> lengths_;
  std::vector<std::int64_t> offsets_;
  std::int64_t end_ = 0;
};

}  // namespace nxd
