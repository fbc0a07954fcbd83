// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include <nxd/data/indexed_dataset.hpp>

#include "target.hpp"

namespace {

std::string bytes_of(auto... values) {
  std::string all;
  (all.append(reinterpret_cast<char const*>(&values), sizeof values), ...);
  return all;
}

std::string header(std::uint8_t code, std::uint64_t sequences, std::uint64_t marks) {
  return std::string("MMIDIDX\0\0", 9) + bytes_of(std::uint64_t{1}, code, sequences, marks);
}

}  // namespace

/// First byte: how many bytes the `.bin` has; they are a copy in memory of just that size, so that
/// a read beyond them is seen. Then the `.idx`.
void fuzz::read(std::string_view input) {
  std::vector<std::byte> const data(take_byte(input));
  auto const index = std::as_bytes(std::span(input));
  nxd::SequenceIndex const sequences(index, data, file, "the.bin");
  std::vector<std::int32_t> tokens;
  std::int64_t sum = 0;
  for (std::int64_t i = 0; i < sequences.size(); ++i) {
    tokens.clear();
    sequences.read(i, 0, sequences.length(i), tokens);
    require(std::ssize(tokens) == sequences.length(i), "a sequence has its length");
    sum += std::ssize(tokens);
  }
  require(sum == sequences.tokens(), "all tokens are those of the sequences");
}

std::vector<std::string> fuzz::seeds() {
  auto const rest = bytes_of(std::int32_t{5}, std::int32_t{3}, std::int64_t{0}, std::int64_t{20},
                             std::int64_t{0}, std::int64_t{1}, std::int64_t{2});
  std::vector<std::string> all{"\x20" + header(4, 0, 0), "\x20" + header(4, 2, 3)};
  for (std::uint8_t code = 0; code < 10; ++code) all.push_back("\xff" + header(code, 2, 3) + rest);
  all.push_back("\xff" + header(4, ~std::uint64_t{0} / 12 + 1, 1) + rest);
  return all;
}

std::vector<std::string> fuzz::words() {
  return {std::string("MMIDIDX\0\0", 9),
          bytes_of(std::uint64_t{1}),
          bytes_of(std::uint64_t{3}),
          bytes_of(std::int64_t{-1}),
          bytes_of(INT64_MAX),
          bytes_of(INT64_MIN),
          bytes_of(std::uint64_t{1} << 61),
          bytes_of(INT32_MAX),
          bytes_of(std::int32_t{1} << 30)};
}
