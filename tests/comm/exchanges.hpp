// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include <nxd/comm/reduce.hpp>

namespace nxd::test {

/// A communicator as small as the concept allows: none of the operations that C may have beside it.
template <class C> struct Plain {
  C inner;

  std::int64_t rank() const { return inner.rank(); }
  std::int64_t size() const { return inner.size(); }
  template <class T> void all_gather(Line l, std::span<T const> in, std::span<T> out) {
    inner.all_gather(l, in, out);
  }
  template <class T> void all_to_all(Line l, std::span<T const> in, std::span<T> out) {
    inner.all_to_all(l, in, out);
  }
  template <class T> void broadcast(Line l, std::int64_t root, std::span<T> data) {
    inner.broadcast(l, root, data);
  }
  template <class T> void send(std::int64_t to, int tag, std::span<T const> data) {
    inner.send(to, tag, data);
  }
  template <class T> void receive(std::int64_t from, int tag, std::span<T> data) {
    inner.receive(from, tag, data);
  }
  void barrier() { inner.barrier(); }
};

/// Values whose sum depends on its order: both signs, and sizes from 1e-3 to 1e3.
template <class T> std::vector<T> noise(std::size_t n, std::int64_t rank) {
  auto state = static_cast<std::uint64_t>(rank + 1) * 0x9e3779b97f4a7c15;
  auto const next = [&state] {
    state += 0x9e3779b97f4a7c15;
    auto x = (state ^ state >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return static_cast<double>((x ^ x >> 31) >> 11) * 0x1p-53;
  };
  std::vector<T> values(n);
  for (auto& v : values) {
    auto const x = (next() - 0.5) * std::pow(10.0, 6 * next() - 3);
    if constexpr (std::is_same_v<T, bf16>)
      v = to_bf16(static_cast<float>(x));
    else
      v = static_cast<T>(x);
  }
  return values;
}

/// A number that says which bits came in which order.
struct Digest {
  std::uint64_t value = 0xcbf29ce484222325;

  template <class T> void add(std::vector<T> const& values) {
    for (auto const b : std::as_bytes(std::span(values)))
      value = (value ^ std::to_integer<std::uint64_t>(b)) * 0x100000001b3;
  }
};

template <class T> std::span<T const> constant(std::vector<T> const& v) { return v; }

/// The line of all ranks of a job.
template <class C> Line everyone(C const& comm) { return {0, 1, comm.size(), comm.rank()}; }

/// All collectives along one line, with short messages and long ones, even and ragged.
template <class T, class C> void exchange(C& comm, Line line, Digest& digest) {
  auto const count = static_cast<std::size_t>(line.count);
  for (std::size_t const n :
       {std::size_t{1}, std::size_t{37}, std::size_t{9973}, std::size_t{12288}}) {
    auto values = noise<T>(n, comm.rank());
    std::vector<T> all(n * count), mine(n), traded(n * count);
    comm.all_gather(line, constant(values), std::span<T>(all));
    comm.all_to_all(line, constant(all), std::span<T>(traded));
    digest.add(all);
    digest.add(traded);
    reduce_scatter(comm, line, constant(noise<T>(n * count, comm.rank() + 100)),
                   std::span<T>(mine));
    digest.add(mine);
    for (auto const op : {Op::sum, Op::max}) {
      auto joined = values;
      all_reduce(comm, line, std::span<T>(joined), op);
      digest.add(joined);
    }
    comm.broadcast(line, line.count - 1, std::span<T>(values));
    digest.add(values);
  }
}

/// What a rank has got from every kind of exchange: along all ranks, along halves and pairs where
/// the number of ranks is even, and by messages around a ring.
template <class C> std::uint64_t digest_of_exchanges(C comm) {
  Digest digest;
  auto const n = static_cast<std::int64_t>(comm.size()), r = static_cast<std::int64_t>(comm.rank());
  exchange<float>(comm, {0, 1, n, r}, digest);
  exchange<double>(comm, {0, 1, n, r}, digest);
  exchange<bf16>(comm, {0, 1, n, r}, digest);
  exchange<std::int64_t>(comm, {0, 1, n, r}, digest);
  if (n % 2 == 0) {
    exchange<float>(comm, {r / 2 * 2, 1, 2, r % 2}, digest);
    exchange<float>(comm, {r % 2, 2, n / 2, r / 2}, digest);
  }
  for (int tag = 0; n > 1 && tag < 3; ++tag) {
    auto const sent = noise<float>(100 + static_cast<std::size_t>(tag), r);
    std::vector<float> got(sent.size());
    auto const send = [&] { comm.send((r + 1) % n, tag, constant(sent)); };
    if (r % 2 == 0) send();
    comm.receive((r + n - 1) % n, tag, std::span<float>(got));
    if (r % 2 != 0) send();
    digest.add(got);
  }
  comm.barrier();
  return digest.value;
}

}  // namespace nxd::test
