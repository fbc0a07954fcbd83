// SPDX-License-Identifier: Apache-2.0
//
// The run of `nxd train` with a fault in it:
//
//   NXD_FAULT=KIND:RANK:STEP faulty CONFIG.yaml [KEY=VALUE ...]
//
// Kinds, of which each happens once, in the first exchange of a line that the rank comes to in that
// step: throw, exit, skip, extra, count, other, nan, flip. At SIGUSR2 a rank sleeps for ever,
// wherever it is; kind spin: it spins.

#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <span>
#include <string>
#include <vector>

#include <nxd/comm/guard.hpp>
#include <nxd/config/load.hpp>
#include <nxd/config/train_llama.hpp>

using namespace nxd;

namespace {

struct Mishap {
  std::string kind;
  std::int64_t rank = -1, step = -1;
  bool done = false;

  static Mishap& the() {
    static Mishap mishap = from(std::getenv("NXD_FAULT"));
    return mishap;
  }
  static Mishap from(char const* text) {
    Mishap f;
    char kind[16] = {};
    long rank = -1, step = -1;
    if (text != nullptr && std::sscanf(text, "%15[a-z]:%ld:%ld", kind, &rank, &step) == 3) {
      f.kind = kind, f.rank = rank, f.step = step;
    }
    return f;
  }
  /// It is time for the fault, and it is of this kind.
  bool now(std::int64_t at, char const* what) {
    if (done || rank != at || kind != what || this_process().step() != step) return false;
    return done = true;
  }
};

/// MPI with a fault.
class Faulty {
 public:
  explicit Faulty(Mpi const& inner) : inner_(inner) {}

  std::int64_t rank() const { return inner_.rank(); }
  std::int64_t size() const { return inner_.size(); }
  std::vector<std::int64_t> same_node() const { return inner_.same_node(); }
  Faulty apart() const {
    Faulty healthy(inner_.apart());
    healthy.fails_ = false;
    return healthy;
  }

  template <class T> void all_gather(Line line, std::span<T const> in, std::span<T> out) {
    fail();
    inner_.all_gather(line, in, out);
    if constexpr (std::is_same_v<T, float>)
      if (is(line, "flip")) reinterpret_cast<char*>(out.data())[5] ^= 16;
  }
  template <class T> void all_to_all(Line line, std::span<T const> in, std::span<T> out) {
    inner_.all_to_all(line, in, out);
    if constexpr (std::is_same_v<T, float>)
      if (is(line, "nan")) out[0] = NAN;
  }
  template <class T> void broadcast(Line line, std::int64_t root, std::span<T> data) {
    inner_.broadcast(line, root, data);
  }
  template <class T> void send(std::int64_t to, int tag, std::span<T const> data) {
    inner_.send(to, tag, data);
  }
  template <class T> void receive(std::int64_t from, int tag, std::span<T> data) {
    inner_.receive(from, tag, data);
  }
  template <class T> auto post_send(std::int64_t to, int tag, std::span<T const> data) {
    return inner_.post_send(to, tag, data);
  }
  template <class T> auto post_receive(std::int64_t from, int tag, std::span<T> data) {
    return inner_.post_receive(from, tag, data);
  }
  void barrier() { inner_.barrier(); }

 private:
  bool is(Line line, char const* kind) const {
    return fails_ && line.count > 1 && Mishap::the().now(rank(), kind);
  }
  void fail() const {
    if (!fails_) return;
    if (Mishap::the().now(rank(), "throw")) throw std::runtime_error("a fault that was asked for");
    if (Mishap::the().now(rank(), "exit")) std::exit(3);
  }

  Mpi inner_;
  bool fails_ = true;
};

void stay(int) {
  bool const volatile spins = Mishap::the().kind == "spin";
  for (;;)
    if (!spins) ::usleep(100000);
}

}  // namespace

int main(int argc, char** argv) {
  return guard_main(argc, argv, [&](Mpi const& mpi) {
    Mishap::the();
    std::signal(SIGUSR2, stay);
    std::vector<std::string> const overrides(argv + 2, argv + argc);
    auto const config = load_config(argv[1], overrides);
    Faulty const comm(mpi);
    LlamaStart<Faulty> start(comm, config);
    LlamaRun<Xt, Duplicated, Faulty>(comm, config, start, std::cout).run();
    return 0;
  });
}
