// SPDX-License-Identifier: Apache-2.0
#include <bit>
#include <cmath>
#include <set>

#include <doctest/doctest.h>

#include <nxd/checkpoint/convert.hpp>
#include <nxd/checkpoint/crc32c.hpp>
#include <nxd/checkpoint/digest.hpp>
#include <nxd/checkpoint/xxh128.hpp>
#include <nxd/core/random.hpp>

namespace {

/// A box at random in a shape.
nxd::Box some_box(std::vector<std::int64_t> const& shape, nxd::Stream const& stream,
                  std::uint64_t& at) {
  nxd::Box box;
  for (auto const e : shape) {
    auto const start = static_cast<std::int64_t>(stream.uniform(at++) * static_cast<double>(e));
    auto const extent =
        1 + static_cast<std::int64_t>(stream.uniform(at++) * static_cast<double>(e - start));
    box.start.push_back(start);
    box.extent.push_back(std::min(extent, e - start));
  }
  return box;
}

TEST_CASE("what two boxes have in common is copied, and nothing else") {
  nxd::Stream const stream(1, "boxes");
  std::uint64_t at = 0;
  for (int trial = 0; trial < 300; ++trial) {
    std::vector<std::int64_t> const shape{3, 5, 4};
    auto const a = some_box(shape, stream, at), b = some_box(shape, stream, at);
    std::vector<std::int32_t> from(static_cast<std::size_t>(nxd::volume(a)));
    nxd::for_each_run(
        a, a, nxd::whole(shape), [&](std::int64_t i, std::int64_t place, std::int64_t count) {
          for (std::int64_t k = 0; k < count; ++k)
            from[static_cast<std::size_t>(i + k)] = static_cast<std::int32_t>(place + k);
        });
    std::vector<std::int32_t> to(static_cast<std::size_t>(nxd::volume(b)), -1);
    nxd::copy_common(a, std::as_bytes(std::span(from)), nxd::DType::i32, b,
                     std::as_writable_bytes(std::span(to)), nxd::DType::i32);
    for (std::int64_t i = 0, x = 0; x < 3; ++x)
      for (std::int64_t y = 0; y < 5; ++y)
        for (std::int64_t z = 0; z < 4; ++z) {
          auto const in = [&](nxd::Box const& box) {
            nxd::Box const point{{x, y, z}, {1, 1, 1}};
            return nxd::intersection(box, point).has_value();
          };
          if (!in(b)) continue;
          CHECK(to[static_cast<std::size_t>(i++)] == (in(a) ? (x * 5 + y) * 4 + z : -1));
        }
  }
}

TEST_CASE("a run is as long as both boxes allow") {
  int runs = 0;
  nxd::Box const all = nxd::whole({4, 5, 6}), rows{{1, 0, 0}, {2, 5, 6}};
  nxd::for_each_run(rows, all, rows, [&](auto, auto, std::int64_t count) {
    CHECK(count == 60);
    ++runs;
  });
  CHECK(runs == 1);
}

TEST_CASE("a cover by boxes is exact, or it is told what is wrong") {
  std::vector<std::int64_t> const shape{4, 6};
  nxd::Box const left{{0, 0}, {4, 2}}, right{{0, 2}, {4, 4}}, top{{0, 2}, {2, 4}};
  CHECK_FALSE(nxd::cover_mistake(shape, {left, right}));
  CHECK_FALSE(nxd::cover_mistake({}, {nxd::Box{}}));
  CHECK(nxd::cover_mistake({}, {nxd::Box{}, nxd::Box{}}));
  CHECK(nxd::cover_mistake({}, {}));
  CHECK(nxd::cover_mistake(shape, {left, top})->find("8 of its 24") != std::string::npos);
  CHECK(nxd::cover_mistake(shape, {left, right, top})->find("common") != std::string::npos);
  CHECK(nxd::cover_mistake(shape, {{{0, 1}, {4, 6}}})->find("does not lie") != std::string::npos);
  CHECK(nxd::cover_mistake(shape, {{{0, INT64_MAX}, {4, INT64_MAX}}}));
  CHECK(nxd::cover_mistake(shape, {{{0, 1}, {4}}})->find("from [0, 1] of extent [4]") == 9);
}

TEST_CASE("the digest of a tensor is the sum of the digests of its parts, and knows each place") {
  std::vector<std::int64_t> const shape{4, 6};
  std::vector<float> values(24);
  for (std::size_t i = 0; i < 24; ++i) values[i] = static_cast<float>(i % 5);
  auto const bytes = std::as_bytes(std::span(values));
  auto const all = nxd::digest(shape, nxd::whole(shape), nxd::DType::f32, bytes);
  nxd::Digest sum;
  for (std::int64_t column = 0; column < 6; column += 2) {
    nxd::Box const part{{0, column}, {4, 2}};
    std::vector<std::byte> memory(4 * 2 * 4);
    nxd::copy_common(nxd::whole(shape), bytes, nxd::DType::f32, part, memory, nxd::DType::f32);
    sum += nxd::digest(shape, part, nxd::DType::f32, memory);
  }
  CHECK(sum == all);
  CHECK(nxd::digest_from(nxd::text(all)) == all);
  std::set<std::string> seen{nxd::text(all)};
  for (std::size_t i = 0; i < 24; ++i)
    for (int bit = 0; bit < 32; ++bit) {
      auto const before = values[i];
      values[i] = std::bit_cast<float>(std::bit_cast<std::uint32_t>(before) ^ 1u << bit);
      seen.insert(nxd::text(nxd::digest(shape, nxd::whole(shape), nxd::DType::f32, bytes)));
      values[i] = before;
    }
  std::swap(values[3], values[4]);
  seen.insert(nxd::text(nxd::digest(shape, nxd::whole(shape), nxd::DType::f32, bytes)));
  CHECK(seen.size() == 24 * 32 + 2);
}

TEST_CASE("every fp16 survives a float, and floats go to the nearest fp16, ties to even") {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    nxd::fp16 const half{static_cast<std::uint16_t>(bits)};
    auto const x = nxd::to_float(half);
    if (std::isnan(x))
      CHECK(std::isnan(nxd::to_float(nxd::to_fp16(x))));
    else
      CHECK(nxd::to_fp16(x) == half);
    if ((bits & 0x7fff) >= 0x7bff) continue;
    nxd::fp16 const next{static_cast<std::uint16_t>(bits + 1)};
    auto const middle = (x + nxd::to_float(next)) / 2;
    CHECK(nxd::to_fp16(middle) == ((bits & 1) == 0 ? half : next));
    CHECK(nxd::to_fp16(std::nextafter(middle, x)) == half);
    CHECK(nxd::to_fp16(std::nextafter(middle, nxd::to_float(next))) == next);
  }
  CHECK(nxd::to_float(nxd::to_fp16(65519.0f)) == 65504.0f);
  CHECK(std::isinf(nxd::to_float(nxd::to_fp16(65520.0f))));
}

TEST_CASE("a double goes to bf16 in one rounding") {
  double const x = 1.0 + 0x1p-8 + 0x1p-40;  // a float rounds it to a tie, which would go down
  nxd::bf16 y;
  nxd::convert(reinterpret_cast<std::byte const*>(&x), nxd::DType::f64,
               reinterpret_cast<std::byte*>(&y), nxd::DType::bf16, 1);
  CHECK(nxd::to_float(y) == 1.0f + 0x1p-7f);
}

TEST_CASE("the CRC is Castagnoli's, by instruction and by table, and goes on where it ended") {
  std::string const digits = "123456789";
  auto const bytes = std::as_bytes(std::span(digits));
  CHECK(nxd::crc32c(bytes) == 0xe3069283);
  CHECK(~nxd::detail::crc32c_by_table(~0u, bytes) == 0xe3069283);
  for (std::size_t cut = 0; cut <= 9; ++cut)
    CHECK(nxd::crc32c(bytes.subspan(cut), nxd::crc32c(bytes.first(cut))) == 0xe3069283);
  std::vector<std::byte> zeros(static_cast<std::size_t>(nxd::crc_chunk_bytes) + 5);
  nxd::ChunkCrcs crcs;
  crcs.add(std::span(zeros).first(1000));
  crcs.add(std::span(zeros).subspan(1000));
  REQUIRE(crcs.crcs().size() == 2);
  CHECK(crcs.crcs()[1] == nxd::crc32c(std::span(zeros).first(5)));
}

TEST_CASE("the XXH3-128 is that of xxhsum, however the bytes come") {
  CHECK(nxd::Xxh128().text() == "99aa06d3014798d86001c324468d497f");
  std::string const letters = "abc";
  for (std::size_t cut = 0; cut <= 3; ++cut) {
    nxd::Xxh128 sum;
    sum.add(std::as_bytes(std::span(letters)).first(cut));
    sum.add(std::as_bytes(std::span(letters)).subspan(cut));
    CHECK(sum.text() == "06b05ab6733a618578af5f94892f3950");
  }
}

}  // namespace
