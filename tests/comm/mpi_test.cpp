// SPDX-License-Identifier: Apache-2.0
#include <boost/serialization/map.hpp>
#include <boost/serialization/string.hpp>
#include <boost/serialization/vector.hpp>

#include <nxd/comm/mpi.hpp>
#include <nxd/comm/posted_gather.hpp>
#include <nxd/comm/posted_reduction.hpp>
#include <nxd/comm/recorder.hpp>
#include <nxd/comm/threads.hpp>

#include "exchanges.hpp"
#include "mpi_main.hpp"

using namespace nxd;
using namespace nxd::test;

static_assert(has_mpi_datatype<float> && has_mpi_datatype<double> && has_mpi_datatype<bf16>);
static_assert(has_mpi_datatype<std::int32_t> && has_mpi_datatype<std::int64_t> &&
              has_mpi_datatype<char>);
static_assert(has_mpi_datatype<std::byte> && !has_mpi_datatype<Line>);

TEST_CASE("threads and MPI give the same bits in every exchange, on every rank") {
  auto& mpi = world();
  std::vector<std::uint64_t> on_threads(static_cast<std::size_t>(mpi.size()));
  Threads::run(mpi.size(), [&](Threads::Rank c) {
    on_threads[static_cast<std::size_t>(c.rank())] = digest_of_exchanges(c);
  });
  auto const mine = on_threads[static_cast<std::size_t>(mpi.rank())];
  CHECK(digest_of_exchanges(mpi) == mine);
  CHECK(digest_of_exchanges(Recorder(mpi)) == mine);
}

TEST_CASE("blocks come in the order of the ranks, along a line that skips ranks") {
  auto& mpi = world();
  auto const n = mpi.size(), r = mpi.rank();
  if (n % 2 != 0) return;
  Line const every_second{r % 2, 2, n / 2, r / 2};
  std::vector<std::int64_t> const mine{r};
  std::vector<std::int64_t> all(static_cast<std::size_t>(n / 2));
  mpi.all_gather(every_second, constant(mine), std::span<std::int64_t>(all));
  for (std::int64_t place = 0; place < n / 2; ++place)
    CHECK(all[static_cast<std::size_t>(place)] == 2 * place + r % 2);
}

TEST_CASE("posted messages arrive while both ranks go on") {
  auto& mpi = world();
  auto const n = mpi.size(), r = mpi.rank();
  auto const sent = noise<bf16>(100000, r), expected = noise<bf16>(100000, (r + n - 1) % n);
  std::vector<bf16> got(sent.size());
  auto coming = mpi.post_receive((r + n - 1) % n, 5, std::span<bf16>(got));
  auto going = mpi.post_send((r + 1) % n, 5, constant(sent));
  auto moved = std::move(coming);
  moved.wait();
  going.wait();
  CHECK(got == expected);
  CHECK(moved.done());
}

namespace {

/// Two sums under way at once, of n values each.
template <class T, class C> void check_posted(C& comm, Line line, std::size_t n) {
  CAPTURE(n);
  auto const count = static_cast<std::size_t>(line.count), block = (n + count - 1) / count;
  auto const values = noise<T>(n, comm.rank());
  auto padded = values;
  padded.resize(block * count);
  std::vector<T> part(block), whole = values;
  reduce_scatter(comm, line, constant(padded), std::span<T>(part));
  all_reduce(comm, line, std::span<T>(whole));
  PostedReduction<C, T> sums[2];
  std::vector<T> room[2], out[2] = {noise<T>(block, 5), noise<T>(n, 5)};
  for (int turn = 0; turn < 2; ++turn) {  // an object can be used again
    for (std::size_t i = 0; i < 2; ++i) {
      room[i].resize(static_cast<std::size_t>(
          PostedReduction<C, T>::room(static_cast<std::int64_t>(n), line)));
      sums[i].post(comm, line, i == 0 ? Exchange::reduce_scatter : Exchange::all_reduce,
                   constant(values), std::span<T>(room[i]), std::span<T>(out[i]));
    }
    for (int poll = 0; poll < 100 * (comm.rank() % 2); ++poll)
      if (sums[0].advance()) sums[1].advance();
    for (auto& sum : sums) sum.wait();
    bool const same_part = std::ranges::equal(std::as_bytes(std::span(out[0])),
                                              std::as_bytes(std::span(part))),
               same_whole = std::ranges::equal(std::as_bytes(std::span(out[1])),
                                               std::as_bytes(std::span(whole)));
    CHECK(same_part);
    CHECK(same_whole);
  }
}

/// Two gathers under way at once, of n values each.
template <class T, class C> void check_posted_gathers(C& comm, Line line, std::size_t n) {
  CAPTURE(n);
  detail::RankBlocks const blocks(n, line.count);
  PostedGather<C> gathers[2];
  for (int turn = 0; turn < 2; ++turn) {
    std::vector<T> mine[2], all[2];
    for (std::size_t i = 0; i < 2; ++i) {
      mine[i] = noise<T>(blocks.size, 10 * comm.rank() + static_cast<std::int64_t>(i));
      all[i].resize(blocks.size * static_cast<std::size_t>(line.count));
      comm.all_gather(line, constant(mine[i]), std::span<T>(all[i]));
      all[i].resize(n);
    }
    std::vector<T> values[2] = {noise<T>(n, 5), noise<T>(n, 5)};
    for (std::size_t i = 0; i < 2; ++i) {
      std::copy_n(mine[i].begin(), blocks.length(line.place),
                  values[i].begin() + static_cast<std::ptrdiff_t>(blocks.first(line.place)));
      gathers[i].post(comm, line, std::span<T>(values[i]));
    }
    for (int poll = 0; poll < 100 * (comm.rank() % 2); ++poll)
      if (gathers[0].advance()) gathers[1].advance();
    for (auto& gather : gathers) gather.wait();
    for (std::size_t i = 0; i < 2; ++i) {
      bool const same =
          std::ranges::equal(std::as_bytes(std::span(values[i])), std::as_bytes(std::span(all[i])));
      CHECK(same);
    }
  }
}

/// A sum of rows that are made piece by piece, and a gather of rows that come so, if blocks are the
/// ranks'.
template <class T, class C> void check_pieces(C& comm, Line line, RowPieces const& pieces) {
  CAPTURE(pieces.length);
  constexpr std::size_t columns = 7;
  auto const n = static_cast<std::size_t>(pieces.rows()) * columns;
  bool const everywhere = pieces.ranks == 0;
  auto const made = noise<T>(n, comm.rank());
  auto whole = made;
  all_reduce(comm, line, std::span<T>(whole));
  auto const each = [&](std::vector<T>& values, std::int64_t i) {
    return std::span<T>(values).subspan(static_cast<std::size_t>(pieces[i].first) * columns,
                                        static_cast<std::size_t>(pieces[i].count) * columns);
  };
  auto const same = [](auto const& a, auto const& b) {
    return std::ranges::equal(std::as_bytes(std::span(a)), std::as_bytes(std::span(b)));
  };
  std::vector<T> expected;
  pieces.each_of(line.place, [&](std::int64_t i) {
    auto const part = each(whole, i);
    expected.insert(expected.end(), part.begin(), part.end());
  });
  PostedReduction<C, T> sum;
  PostedGather<C> gather;
  for (int turn = 0; turn < 2; ++turn) {
    std::vector<T> values(n),
        room(static_cast<std::size_t>(
            PostedReduction<C, T>::room(static_cast<std::int64_t>(n), line, pieces))),
        out(expected.size());
    sum.begin(comm, line, everywhere ? Exchange::all_reduce : Exchange::reduce_scatter, pieces,
              constant(values), std::span<T>(room), std::span<T>(out));
    std::int64_t left = pieces.count();
    pieces.each_for_others(line.place, [&](std::int64_t i) {
      auto from = made;
      std::ranges::copy(each(from, i), each(values, i).begin());
      sum.made(i);
      if (comm.rank() % 2 == turn) sum.advance();
      --left;
    });
    sum.wait();
    bool const is_sum = same(out, expected);
    CHECK(left == 0);
    CHECK(is_sum);
    if (everywhere) continue;
    std::vector<T> all(n);
    pieces.each_of(line.place, [&](std::int64_t i) {
      std::ranges::copy(each(whole, i), each(all, i).begin());
    });
    gather.post(comm, line, pieces, std::span<T>(all));
    std::int64_t come = 0;
    bool is_there = true;
    pieces.each_from_others(line.place, [&](std::int64_t i) {
      if (pieces.owner(i) != line.place) gather.wait_for(++come);
      is_there = is_there && same(each(all, i), each(whole, i));
    });
    gather.wait();
    CHECK(is_there);
    CHECK(come == (pieces.count() - std::ssize(expected) * pieces.count() / std::ssize(all)));
  }
}

/// Blocks of all ranks and of each, in one piece and in several.
template <class T, class C> void check_pieces(C& comm, Line line) {
  for (std::int64_t const length : {1, 16, 67})
    for (std::int64_t const count : {1, 4}) {
      if (length < 16 * count) continue;
      check_pieces<T>(comm, line, {.blocks = 1, .length = length, .pieces = count});
      check_pieces<T>(comm, line, {3 * line.count, length, count, line.count});
    }
}

}  // namespace

TEST_CASE("values that are made, or come, piece by piece have the bits of those that do not") {
  auto& comm = test::world();
  auto const r = comm.rank(), n = comm.size();
  check_pieces<float>(comm, {0, 1, n, r});
  check_pieces<bf16>(comm, {0, 1, n, r});
  if (n % 2 == 0) check_pieces<float>(comm, {r % 2, 2, n / 2, r / 2});
  Threads::run(n, [&](Threads::Rank rank) { check_pieces<float>(rank, {0, 1, n, rank.rank()}); });
}

TEST_CASE("sums that are posted have the bits of those that are waited for") {
  auto& comm = test::world();
  auto const r = comm.rank(), n = comm.size();
  for (std::size_t const values : {1, 3, 9973, 200000}) {
    check_posted<float>(comm, {0, 1, n, r}, values);
    check_posted<bf16>(comm, {0, 1, n, r}, values);
    if (n % 2 == 0) check_posted<float>(comm, {r % 2, 2, n / 2, r / 2}, values);
    Threads::run(n, [&](Threads::Rank rank) {
      check_posted<float>(rank, {0, 1, n, rank.rank()}, values);
    });
  }
}

TEST_CASE("gathers that are posted have the bits of those that are waited for") {
  auto& comm = test::world();
  auto const r = comm.rank(), n = comm.size();
  for (std::size_t const values : {1, 3, 9973, 200000}) {
    check_posted_gathers<float>(comm, {0, 1, n, r}, values);
    if (n % 2 == 0) check_posted_gathers<bf16>(comm, {r % 2, 2, n / 2, r / 2}, values);
    Threads::run(n, [&](Threads::Rank rank) {
      check_posted_gathers<float>(rank, {0, 1, n, rank.rank()}, values);
    });
  }
}

TEST_CASE("a message shorter than expected is a mistake that names both ranks") {
  auto& mpi = world();
  auto const r = mpi.rank();
  float const sent[1] = {1};
  float got[2] = {};
  auto going = mpi.post_send(r, 1, std::span<float const>(sent));
  CHECK_THROWS_AS(mpi.receive(r, 1, std::span<float>(got)), Error);
  going.wait();
}

TEST_CASE("a call that MPI refuses throws, and names the call") {
  auto& mpi = world();
  float value = 0;
  try {
    mpi.send(mpi.size(), 0, std::span<float const>(&value, 1));
    CHECK(false);
  } catch (Error const& e) {
    CHECK(std::string(e.what()).find("MPI_Send: ") == 0);
  }
}

TEST_CASE("configurations travel as objects") {
  std::map<std::string, std::vector<int>> object;
  if (world().rank() == 0) object = {{"layers", {1, 2, 3}}, {"heads", {}}};
  world().broadcast_object(object);
  CHECK(object.at("layers") == std::vector<int>{1, 2, 3});
  CHECK(object.size() == 2);
}

TEST_CASE(
    "blocks that an int cannot count are one of a type that spans them, to the last element") {
  for (std::size_t const n :
       {std::size_t{7}, std::size_t{8}, std::size_t{9}, std::size_t{16}, std::size_t{21}}) {
    detail::BlockType const block(n, MPI_INT, 8);
    MPI_Count bytes = 0, lower = 0, extent = 0;
    MPI_Type_size_x(block.type(), &bytes);
    MPI_Type_get_extent_x(block.type(), &lower, &extent);
    CHECK(bytes * block.count() == static_cast<MPI_Count>(4 * n));
    CHECK(extent * block.count() == static_cast<MPI_Count>(4 * n));
    CHECK(block.count() == (n > 8 ? 1 : static_cast<int>(n)));
  }
}

TEST_CASE("more bytes than an int can count are exchanged whole" * doctest::skip()) {
  auto& mpi = world();
  std::size_t const n = (std::size_t{1} << 31) + 5;
  std::vector<char> data(n, mpi.rank() == 0 ? 'x' : ' ');
  data.back() = mpi.rank() == 0 ? 'y' : ' ';
  mpi.broadcast(everyone(mpi), 0, std::span<char>(data));
  CHECK(data.front() == 'x');
  CHECK(data[n - 2] == 'x');
  CHECK(data.back() == 'y');
}

TEST_CASE("the ranks of a node know each other") {
  auto& mpi = world();
  auto const near = mpi.same_node();
  CHECK(std::ranges::is_sorted(near));
  CHECK(std::ranges::count(near, mpi.rank()) == 1);
  if (auto const* const hosts = std::getenv("NXD_TEST_HOSTS"))
    CHECK(std::ssize(near) == mpi.size() / std::atoi(hosts));
  else
    CHECK(std::ssize(near) == mpi.size());
}

int main(int argc, char** argv) { return run_under_mpi(argc, argv); }
