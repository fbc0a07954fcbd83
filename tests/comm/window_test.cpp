// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <thread>

#include <doctest/doctest.h>

#include <nxd/comm/threads.hpp>
#include <nxd/comm/window_exchanges.hpp>

#include "exchanges.hpp"

using namespace nxd;
using namespace nxd::test;

namespace {

void yield() { std::this_thread::yield(); }

/// Threads that share a window, `program(window)` in each. What a rank brings starts at an odd
/// multiple of 8 bytes, as MPI's does.
void in_a_window(std::int64_t ranks, auto const& program) {
  auto const bytes = Window::bytes(ranks) / 64 * 64 + 128;
  std::vector<std::byte> memory(bytes * static_cast<std::size_t>(ranks) + 64);
  void* first = memory.data();
  auto space = memory.size();
  std::align(64, 1, first, space);
  std::vector<std::byte*> brought;
  for (std::int64_t r = 0; r < ranks; ++r) {
    brought.push_back(static_cast<std::byte*>(first) + r * static_cast<std::int64_t>(bytes) + 8);
    Window::furnish(brought.back());
  }
  Threads::run(ranks, [&](Threads::Rank rank) {
    Window window({0, 1, ranks, rank.rank()}, brought, yield, Window::Looks::none);
    program(window);
  });
}

void expect(bool holds, char const* what) {
  if (!holds) throw std::runtime_error(what);
}

/// Elements: none, one, an odd number, short messages and the first that is not, one piece, many.
auto const sizes = std::to_array<std::size_t>({0, 1, 37, 4096, 4097, 30'001, 131'072, 700'003});

template <class T> void compare_reductions(std::int64_t ranks) {
  for (auto const n : sizes)
    for (auto const op : {Op::sum, Op::max}) {
      auto expected = noise<T>(n, 0);
      Threads::run(ranks, [&](Threads::Rank rank) {
        auto mine = noise<T>(n, rank.rank());
        all_reduce(rank, everyone(rank), std::span<T>(mine), op);
        if (rank.rank() == 0) expected = mine;
      });
      in_a_window(ranks, [&](Window& window) {
        auto mine = noise<T>(n, window.place());
        detail::all_reduce(window, std::span<T>(mine), op);
        expect(
            std::ranges::equal(std::as_bytes(std::span(mine)), std::as_bytes(std::span(expected))),
            "an all-reduce has other bits");
      });
    }
}

}  // namespace

TEST_CASE("an all-reduce through a window has the bits of one between threads") {
  for (std::int64_t const ranks : {1, 2, 3, 8}) compare_reductions<float>(ranks);
  compare_reductions<double>(3);
  compare_reductions<bf16>(4);
  compare_reductions<std::int64_t>(3);
}

TEST_CASE("a reduce-scatter and an all-gather through a window give an all-reduce") {
  for (std::int64_t const ranks : {1, 2, 3, 8})
    for (auto const n : sizes)
      in_a_window(ranks, [&](Window& window) {
        auto const whole = n * static_cast<std::size_t>(ranks);
        auto values = noise<float>(whole, window.place());
        std::vector<float> mine(n), all(whole);
        detail::reduce_scatter(window, constant(values), std::span<float>(mine));
        detail::all_gather(window, constant(mine), std::span<float>(all));
        detail::all_reduce(window, std::span<float>(values), Op::sum);
        expect(values == all, "a reduce-scatter has other bits");
      });
}

TEST_CASE("a broadcast through a window brings the root's data, whoever is the root") {
  for (auto const n : sizes)
    in_a_window(3, [&](Window& window) {
      for (std::int64_t root = 0; root < 3; ++root) {
        auto data = noise<float>(n, window.place());
        detail::broadcast(window, root, std::span<float>(data));
        expect(data == noise<float>(n, root), "not the root's data");
      }
    });
}

TEST_CASE("exchanges follow each other, whoever is late") {
  in_a_window(4, [&](Window& window) {
    for (int turn = 0; turn < 2000; ++turn) {
      if ((window.place() + turn) % 97 == 0)
        std::this_thread::sleep_for(std::chrono::microseconds(200));
      std::vector<std::int64_t> values(1 + turn % 5 * 1000, window.place() + turn);
      detail::all_reduce(window, std::span<std::int64_t>(values), Op::sum);
      expect(values.front() == 6 + 4 * turn && values.back() == values.front(), "another turn's");
    }
  });
}

TEST_CASE("ranks that come to a window for different things are told so") {
  for (bool const other_size : {true, false}) try {
      in_a_window(2, [&](Window& window) {
        std::vector<float> values(window.place() == 0 && other_size ? 7 : 8), one(4);
        if (window.place() == 0 || other_size)
          detail::all_reduce(window, std::span<float>(values), Op::sum);
        else
          detail::reduce_scatter(window, constant(values), std::span<float>(one));
      });
      CHECK(false);
    } catch (Error const& e) {
      CHECK(e.code == ExitCode::desync);
      CHECK(std::string(e.what()).find("all_reduce of ") != std::string::npos);
      CHECK(std::string(e.what()).find(", but rank ") != std::string::npos);
    }
}

static_assert(window_room(2) == window_room(16) && window_room(64) < window_room(2));
static_assert(256 * Window::bytes(256) < std::size_t{32} << 20);
