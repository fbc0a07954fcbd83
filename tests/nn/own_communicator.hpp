// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <thread>
#include <tuple>
#include <vector>

#include <nxd/comm/communicator.hpp>

namespace own {

/// Where ranks leave messages for each other.
struct PostOffice {
  std::mutex mutex;
  std::condition_variable arrived;
  std::map<std::tuple<std::int64_t, std::int64_t, int>, std::deque<std::vector<std::byte>>> boxes;
};

/// A communicator of one's own: ranks are threads, and every exchange is made of messages.
class Rank {
 public:
  Rank(PostOffice& office, std::int64_t rank, std::int64_t size)
      : office_(&office), rank_(rank), size_(size) {}

  std::int64_t rank() const { return rank_; }
  std::int64_t size() const { return size_; }

  template <class T> void send(std::int64_t to, int tag, std::span<T const> data) {
    auto const bytes = std::as_bytes(data);
    std::lock_guard const lock(office_->mutex);
    office_->boxes[{rank_, to, tag}].emplace_back(bytes.begin(), bytes.end());
    office_->arrived.notify_all();
  }
  template <class T> void receive(std::int64_t from, int tag, std::span<T> data) {
    std::unique_lock lock(office_->mutex);
    auto& box = office_->boxes[{from, rank_, tag}];
    office_->arrived.wait(lock, [&] { return !box.empty(); });
    if (!data.empty()) std::memcpy(data.data(), box.front().data(), data.size_bytes());
    box.pop_front();
  }

  template <class T> void all_gather(nxd::Line line, std::span<T const> in, std::span<T> out) {
    for (std::int64_t i = 0; i < line.count; ++i) send(line.rank(i), internal, in);
    for (std::int64_t i = 0; i < line.count; ++i)
      receive(line.rank(i), internal, block(out, i, line.count));
  }
  template <class T> void all_to_all(nxd::Line line, std::span<T const> in, std::span<T> out) {
    for (std::int64_t i = 0; i < line.count; ++i)
      send(line.rank(i), internal, block(in, i, line.count));
    for (std::int64_t i = 0; i < line.count; ++i)
      receive(line.rank(i), internal, block(out, i, line.count));
  }
  template <class T> void broadcast(nxd::Line line, std::int64_t root, std::span<T> data) {
    if (line.place != root) return receive(line.rank(root), internal, data);
    for (std::int64_t i = 0; i < line.count; ++i)
      if (i != root) send(line.rank(i), internal, std::span<T const>(data));
  }
  void barrier() {
    std::vector<char> all(static_cast<std::size_t>(size_));
    char const here = 1;
    all_gather({0, 1, size_, rank_}, std::span<char const>(&here, 1), std::span<char>(all));
  }

 private:
  static constexpr int internal = -1;  // the tag of messages that make up a collective

  template <class T>
  static std::span<T> block(std::span<T> data, std::int64_t i, std::int64_t count) {
    auto const length = data.size() / static_cast<std::size_t>(count);
    return data.subspan(static_cast<std::size_t>(i) * length, length);
  }

  PostOffice* office_;
  std::int64_t rank_, size_;
};

static_assert(nxd::Communicator<Rank>);

/// Runs `program(rank)` on so many ranks.
inline void run(std::int64_t ranks, auto const& program) {
  PostOffice office;
  std::vector<std::jthread> threads;
  for (std::int64_t r = 0; r < ranks; ++r)
    threads.emplace_back([&office, &program, r, ranks] { program(Rank(office, r, ranks)); });
}

}  // namespace own
