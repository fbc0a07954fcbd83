// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>

#include <doctest/doctest.h>

#include <nxd/data/dataset.hpp>
#include <nxd/data/sampler.hpp>
#include <nxd/data/text.hpp>

using namespace nxd;
namespace fs = std::filesystem;

namespace {

/// A folder that goes when the test does.
struct Folder {
  fs::path path = fs::temp_directory_path() / ("nxd-data-" + std::to_string(::getpid()));
  Folder() { fs::create_directories(path / "below"); }
  ~Folder() { fs::remove_all(path); }
  std::string operator/(std::string const& name) const { return (path / name).string(); }
};

void put(std::string const& path, std::string const& text) {
  std::ofstream(path, std::ios::binary) << text;
}
std::string get(std::string const& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<std::int32_t> counting(std::int32_t n) {
  std::vector<std::int32_t> all;
  for (std::int32_t i = 0; i < n; ++i) all.push_back(i);
  return all;
}

}  // namespace

TEST_CASE("any bytes come back from the byte tokenizer as they were") {
  std::string text;
  for (int i = 0; i < 256; ++i) text += static_cast<char>(i);
  CHECK(ByteTokenizer::decode(ByteTokenizer::encode(text)) == text);
  CHECK_THROWS_AS(ByteTokenizer::decode(std::vector<std::int32_t>{259}), Error);
}

TEST_CASE("texts are read in the order of their names, each ended, what is no text left out") {
  Folder const folder;
  put(folder / "b.txt", "two");
  put(folder / "a.txt", "one");
  put(folder / "below/c.txt", "three");
  put(folder / "d.bin", std::string("x\0y", 3));
  auto const tokens = read_text(ByteTokenizer{}, folder.path.string());
  CHECK(ByteTokenizer::decode(tokens) == "onetwothree");
  CHECK(std::ranges::count(tokens, ByteTokenizer::eos) == 3);
  CHECK(ByteTokenizer::decode(read_text(ByteTokenizer{}, folder / "[ab].txt")) == "onetwo");
  CHECK(ByteTokenizer::decode(read_text(ByteTokenizer{}, folder.path.string(), 4)) == "onet");
  CHECK_THROWS_AS(read_text(ByteTokenizer{}, folder / "none"), IoError);
  CHECK_THROWS_AS(read_text(ByteTokenizer{}, folder / "*.none"), IoError);
  CHECK_THROWS_AS(read_text(ByteTokenizer{}, folder / "d.bin"), ConfigError);
}

TEST_CASE("samples share no input, and their labels are one place on") {
  PackedDataset const data(TokenStream(counting(101)), 10);
  REQUIRE(data.size() == 10);
  CHECK(data.sample(3).front() == 30);
  CHECK(data.sample(3).back() == 40);
  auto const [train, held_out] = split(data, 0.3);
  CHECK(train.size() == 7);
  CHECK(held_out.size() == 3);
  CHECK(held_out.sample(0).front() == 70);
  CHECK_THROWS_WITH_AS(check_vocabulary(data.sample(5), 55),
                       doctest::Contains("has token 55, but the model's vocabulary has 55"),
                       ConfigError);
}

TEST_CASE("an indexed data set reads as what was written") {
  Folder const folder;
  auto const tokens = counting(1000);
  IndexedDatasetWriter writer(folder / "set");
  writer.add(std::span(tokens).first(600));
  writer.add(std::span(tokens).subspan(600, 0));
  writer.add(std::span(tokens).subspan(600));
  writer.finish();
  TokenStream const stream(IndexedDataset(folder / "set"));
  CHECK(stream.size() == 1000);
  CHECK(stream.read(590, 20) == TokenStream(tokens).read(590, 20));
}

TEST_CASE("an index that lies is refused, and says why") {
  Folder const folder;
  IndexedDatasetWriter writer(folder / "set");
  writer.add(counting(30));
  writer.add(counting(20));
  writer.finish();
  auto const right = get(folder / "set.idx");
  auto const number = [](std::size_t at, auto value) {
    return [=](std::string s) {
      std::memcpy(s.data() + at, &value, sizeof value);
      return s;
    };
  };
  std::vector<std::function<std::string(std::string)>> const lies{
      [](std::string) { return std::string(); },
      [](std::string s) { return s.substr(0, 20); },
      [](std::string s) { return s.substr(0, s.size() - 1); },
      [](std::string s) { return s + "x"; },
      number(0, 'N'),
      number(9, std::uint64_t{2}),
      number(17, std::uint8_t{7}),
      number(17, std::uint8_t{99}),
      number(18, std::uint64_t{3}),
      number(18, ~std::uint64_t{0}),
      number(26, std::uint64_t{1} << 61),
      number(34, std::int32_t{-1}),
      number(34, std::int32_t{1000}),
      number(42, std::int64_t{-8}),
      number(42, std::int64_t{1} << 62),
      number(58, std::int64_t{5}),
      number(74, std::int64_t{3})};
  for (std::size_t i = 0; i < lies.size(); ++i) {
    CAPTURE(i);
    put(folder / "set.idx", lies[i](right));
    CHECK_THROWS_AS(IndexedDataset(folder / "set"), CorruptInput);
  }
  put(folder / "set.idx", right);
  CHECK(IndexedDataset(folder / "set").tokens() == 50);
  CHECK_THROWS_AS(IndexedDataset(folder / "none"), IoError);
}

TEST_CASE("a shuffled epoch has every sample once, and each epoch its own order") {
  for (std::int64_t const size : {1, 2, 3, 100, 1000, 1025}) {
    SampleOrder const order{size, 7, true};
    std::set<std::int64_t> seen;
    bool moved = false;
    for (std::int64_t i = 0; i < size; ++i) {
      seen.insert(order(3 * size + i));
      moved = moved || order(i) != order(size + i);
    }
    CHECK(std::ssize(seen) == size);
    CHECK((moved || size < 10));
    CHECK((*seen.begin() == 0 && *seen.rbegin() == size - 1));
  }
  CHECK(SampleOrder{10, 7, false}(23) == 3);
}

TEST_CASE("a step has the same samples on any number of ranks") {
  for (std::int64_t const ranks : {1, 2, 4})
    for (std::int64_t const micro : {1, 2, 4}) {
      BatchSizes const sizes{16, micro, ranks};
      REQUIRE(check_batches(sizes));
      std::set<std::int64_t> places;
      for (std::int64_t r = 0; r < ranks; ++r)
        for (std::int64_t m = 0; m < sizes.accumulate(); ++m)
          for (std::int64_t row = 0; row < micro; ++row) places.insert(sizes.place(5, m, r, row));
      CHECK((places.size() == 16 && *places.begin() == 80 && *places.rbegin() == 95));
    }
  CHECK(check_batches({16, 3, 2}) ==
        Verdict{Rule::global_batch_must_be_a_multiple_of_micro_batches, 16, 6});
}
