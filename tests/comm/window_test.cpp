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

/// Values in memory of their own, or in memory that all ranks can map.
template <class T> class Values {
 public:
  Values(std::vector<T> const& content, bool shared) : content_(content) {
    if (!shared) return;
    first_ = static_cast<T*>(SharedMemory::of_process().allocate(content.size() * sizeof(T) + 64));
    REQUIRE(first_ != nullptr);
    std::ranges::copy(content, first_ + 1);
  }
  Values(Values const&) = delete;
  Values& operator=(Values const&) = delete;
  ~Values() {
    if (first_ != nullptr) SharedMemory::of_process().deallocate(first_);
  }
  std::span<T> span() {
    return first_ == nullptr ? std::span<T>(content_) : std::span<T>(first_ + 1, content_.size());
  }
  bool operator==(std::vector<T> const& other) {
    return std::ranges::equal(std::as_bytes(span()), std::as_bytes(std::span(other)));
  }

 private:
  std::vector<T> content_;
  T* first_ = nullptr;
};

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
      for (bool const shared : {false, true})
        in_a_window(ranks, [&](Window& window) {
          auto const whole = n * static_cast<std::size_t>(ranks);
          auto const noisy = noise<float>(whole, window.place());
          Values<float> values(noisy, shared), in(noisy, shared);
          Values<float> mine(std::vector<float>(n), shared);
          std::vector<float> all(whole);
          std::span<float const> const from = in.span(), part = mine.span();
          detail::reduce_scatter(window, from, mine.span());
          bool const gathered = detail::all_gather(window, part, std::span<float>(all));
          expect(gathered || !shared, "memory that all ranks can map was not seen");
          detail::all_reduce(window, values.span(), Op::sum);
          if (gathered) expect(values == all, "a reduce-scatter has other bits");
          expect(in == noisy, "what was summed has changed");
        });
}

TEST_CASE("a broadcast through a window brings the root's data, whoever is the root") {
  for (std::size_t const n : {0, 1, 8192, 8193})
    in_a_window(3, [&](Window& window) {
      for (std::int64_t root = 0; root < 3; ++root) {
        auto data = noise<float>(n, window.place());
        bool const done = detail::broadcast(window, root, std::span<float>(data));
        expect(done == (n <= 8192), "a long one does not go through a window");
        if (done) expect(data == noise<float>(n, root), "not the root's data");
      }
    });
}

TEST_CASE("memory of this process is found by any address in it, and no other is") {
  auto& memory = SharedMemory::of_process();
  auto* const piece = static_cast<std::byte*>(memory.allocate(8192));
  REQUIRE(piece != nullptr);
  CHECK(memory.find(piece + 100, 8092).offset == 100);
  CHECK(!memory.find(piece + 100, 8093));
  CHECK(!memory.find(piece - 1, 1));
  int on_stack = 0;
  CHECK(!memory.find(&on_stack, sizeof on_stack));

  MappedMemory mapped;
  auto address = memory.find(piece + 7, 1);
  piece[7] = std::byte{42};
  REQUIRE(mapped.at(address) != nullptr);
  CHECK(mapped.at(address) != piece + 7);
  CHECK(*mapped.at(address) == std::byte{42});
  address.inode += 1;
  CHECK(mapped.at(address) == nullptr);  // the descriptor is another file's

  CHECK(memory.deallocate(piece));
  CHECK(!memory.deallocate(piece));
  CHECK(!memory.find(piece, 1));
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
