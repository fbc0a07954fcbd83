// SPDX-License-Identifier: Apache-2.0
#include <limits>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <nxd/data/dataset.hpp>
#include <nxd/data/indexed_dataset.hpp>

#include "oracle.hpp"

using namespace nxd;
using namespace nxd::test;

namespace {

using Sequence = std::vector<std::int32_t>;
using Document = std::vector<Sequence>;

template <std::size_t N> std::string bytes(char const (&literal)[N]) { return {literal, N - 1}; }

std::vector<Sequence> sequences_of(IndexedDataset const& data) {
  std::vector<Sequence> all(static_cast<std::size_t>(data.size()));
  for (std::int64_t i = 0; i < data.size(); ++i)
    data.read(i, 0, data.length(i), all[static_cast<std::size_t>(i)]);
  return all;
}

std::vector<Sequence> sequences_of(std::vector<Document> const& documents) {
  std::vector<Sequence> all;
  for (auto const& document : documents) all.insert(all.end(), document.begin(), document.end());
  return all;
}

std::string json(std::vector<Document> const& documents) {
  Json::Array all;
  for (auto const& document : documents) {
    Json::Array sequences;
    for (auto const& sequence : document)
      sequences.emplace_back(std::vector<std::int64_t>(sequence.begin(), sequence.end()));
    all.emplace_back(std::move(sequences));
  }
  return to_text(Json(std::move(all)));
}

/// Documents of one to three sequences, some of them empty, of tokens from `least` to `most`.
std::vector<Document> made_up(std::int64_t least, std::int64_t most) {
  Stream const stream(4, "documents");
  std::uint64_t drawn = 0;
  auto const below = [&](std::int64_t n) {
    return static_cast<std::int64_t>(stream.uniform(drawn++) * static_cast<double>(n));
  };
  std::vector<Document> documents;
  for (std::size_t d = 0; d < 40; ++d) {
    Document document(static_cast<std::size_t>(1 + below(3)));
    for (auto& sequence : document)
      for (auto left = below(30); left > 0; --left)
        sequence.push_back(static_cast<std::int32_t>(least + below(most - least + 1)));
    document[0].push_back(static_cast<std::int32_t>(d % 2 == 0 ? least : most));
    documents.push_back(document);
  }
  return documents;
}

std::string python() {
  static auto const found = python_with("numpy");
  if (found.empty())
    MESSAGE("SKIPPED: no Python here imports numpy (on Debian: apt install python3-numpy)");
  return found;
}

}  // namespace

TEST_CASE("bytes as Megatron writes them are read") {
  Folder const folder;
  write_file(folder / "set.bin", bytes("\x07\x00\x00\x01\xff\xff\x2a\x00"));
  write_file(folder / "set.idx", bytes("MMIDIDX\0\0"
                                       "\1\0\0\0\0\0\0\0"
                                       "\x08"
                                       "\3\0\0\0\0\0\0\0"
                                       "\3\0\0\0\0\0\0\0"
                                       "\2\0\0\0\0\0\0\0\2\0\0\0"
                                       "\0\0\0\0\0\0\0\0\4\0\0\0\0\0\0\0\4\0\0\0\0\0\0\0"
                                       "\0\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0"));
  IndexedDataset const data(folder / "set");
  CHECK(data.tokens() == 4);
  bool const same = sequences_of(data) == std::vector<Sequence>{{7, 256}, {}, {65535, 42}};
  CHECK(same);
}

TEST_CASE("what is written is what Megatron would write") {
  Folder const folder;
  IndexedDatasetWriter writer(folder / "set");
  writer.add(Sequence{7, 256, -1});
  writer.add(Sequence{});
  writer.add(Sequence{0x01020304});
  writer.finish();
  CHECK(read_file(folder / "set.bin") == bytes("\7\0\0\0\0\1\0\0\xff\xff\xff\xff\x04\x03\x02\x01"));
  CHECK(read_file(folder / "set.idx") ==
        bytes("MMIDIDX\0\0"
              "\1\0\0\0\0\0\0\0"
              "\4"
              "\3\0\0\0\0\0\0\0"
              "\4\0\0\0\0\0\0\0"
              "\3\0\0\0\0\0\0\0\1\0\0\0"
              "\0\0\0\0\0\0\0\0\x0c\0\0\0\0\0\0\0\x0c\0\0\0\0\0\0\0"
              "\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0"));
}

TEST_CASE("what numpy writes is read, of every type of token") {
  if (python().empty()) return;
  Folder const folder;
  struct Type {
    std::string name;
    std::int64_t least, most;
  };
  using Limits = std::numeric_limits<std::int32_t>;
  for (auto const& type :
       {Type{"uint8", 0, 255}, Type{"int8", -128, 127}, Type{"int16", -32768, 32767},
        Type{"uint16", 0, 65535}, Type{"int32", Limits::min(), Limits::max()},
        Type{"int64", Limits::min(), Limits::max()}}) {
    CAPTURE(type.name);
    auto const documents = made_up(type.least, type.most);
    write_file(folder / "documents.json", json(documents));
    run_python(python(), "megatron.py",
               {"write", folder / "set", type.name, folder / "documents.json"});
    bool const same = sequences_of(IndexedDataset(folder / "set")) == sequences_of(documents);
    CHECK(same);
  }
}

TEST_CASE("numpy reads what is written, each sequence a document") {
  if (python().empty()) return;
  Folder const folder;
  std::vector<Document> written;
  IndexedDatasetWriter writer(folder / "set");
  for (auto const& sequence : sequences_of(made_up(0, 1 << 20))) {
    writer.add(sequence);
    written.push_back({sequence});
  }
  writer.finish();
  run_python(python(), "megatron.py", {"read", folder / "set", folder / "documents.json"});
  CHECK(read_file(folder / "documents.json") == "int32\n" + json(written));
}
