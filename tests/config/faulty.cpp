// SPDX-License-Identifier: Apache-2.0
//
// The run of `nxd train` with a fault in it:
//
//   NXD_FAULT=KIND:RANK:STEP[:PLACE] faulty CONFIG.yaml [KEY=VALUE ...]
//   NXD_CALL=KIND:RANK:NUMBER faulty CONFIG.yaml [KEY=VALUE ...]
//
// The first happens once, in the first exchange that the rank comes to in that step; with a PLACE,
// from that step on, where it is at what begins so ("F", "the save", "the load", "the start").
// Kinds: throw, memory (out of it), abort (MPI_Abort), kill, crash, exit, leave (exit 0), quit
// (_exit 0); nan, flip; wait (a second), noise (of all ranks, now and then).
// At SIGUSR2 a rank sleeps for ever, wherever it is; kind spin: it spins.
//
// The second happens at the call to the system of that number that changes what lies in the folder
// of checkpoints. Kinds: kill; slow (each fsync, and NUMBER ms); count (writes calls to "calls").
// A file "struck" is there once something has happened.

#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <nxd/comm/guard.hpp>
#include <nxd/config/load.hpp>
#include <nxd/config/train_llama.hpp>

#include "../checkpoint/system_calls.hpp"

using namespace nxd;

namespace {

void strike(std::string const& where = {}) { std::ofstream("struck") << where << "\n"; }

/// KIND:RANK:NUMBER[:PLACE] of the environment.
struct Asked {
  std::string kind, place;
  std::int64_t rank = -1, number = -1;

  explicit Asked(char const* name) {
    char const* const text = std::getenv(name);
    char kind_read[16] = {}, place_read[64] = {};
    long rank_read = -1, number_read = -1;
    if (text == nullptr || std::sscanf(text, "%15[a-z]:%ld:%ld:%63[^\n]", kind_read, &rank_read,
                                       &number_read, place_read) < 3)
      return;
    kind = kind_read, place = place_read, rank = rank_read, number = number_read;
  }
};

struct Mishap : Asked {
  bool done = false;

  Mishap() : Asked("NXD_FAULT") {}
  static Mishap& the() {
    static Mishap mishap;
    return mishap;
  }
  bool here(std::int64_t at) const {
    auto const step = this_process().step();
    if (rank != at) return false;
    if (place.empty()) return step == number;
    return step >= number && this_process().within().starts_with(place);
  }
  /// It is time for the fault, and it is of this kind.
  bool now(std::int64_t at, char const* what) {
    if (done || kind != what || !here(at)) return false;
    strike();
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
  }
  /// Of the weights that ranks have updated.
  template <class T> void all_gather_in_place(Line line, std::span<T> all) {
    fail();
    inner_.all_gather_in_place(line, all);
    if constexpr (std::is_same_v<T, float>)
      if (is(line, "flip")) reinterpret_cast<char*>(all.data())[5] ^= 16;
  }
  template <class T> void all_to_all(Line line, std::span<T const> in, std::span<T> out) {
    fail();
    inner_.all_to_all(line, in, out);
    if constexpr (std::is_same_v<T, float>)
      if (is(line, "nan")) out[0] = NAN;
  }
  template <class T> void broadcast(Line line, std::int64_t root, std::span<T> data) {
    fail();
    inner_.broadcast(line, root, data);
  }
  template <class T> void send(std::int64_t to, int tag, std::span<T const> data) {
    fail();
    inner_.send(to, tag, data);
  }
  template <class T> void receive(std::int64_t from, int tag, std::span<T> data) {
    fail();
    inner_.receive(from, tag, data);
  }
  template <class T> auto post_send(std::int64_t to, int tag, std::span<T const> data) {
    fail();
    return inner_.post_send(to, tag, data);
  }
  template <class T> auto post_receive(std::int64_t from, int tag, std::span<T> data) {
    fail();
    return inner_.post_receive(from, tag, data);
  }
  void barrier() { inner_.barrier(); }

 private:
  bool is(Line line, char const* kind) const {
    return fails_ && line.count > 1 && Mishap::the().now(rank(), kind);
  }
  void fail() const {
    if (!fails_) return;
    auto& mishap = Mishap::the();
    auto const is_now = [&](char const* kind) { return mishap.now(rank(), kind); };
    if (is_now("throw")) throw std::runtime_error("a fault that was asked for");
    if (is_now("memory")) throw std::bad_alloc();
    if (is_now("abort")) MPI_Abort(MPI_COMM_WORLD, 9);
    if (is_now("kill")) std::raise(SIGKILL);
    if (is_now("crash")) std::raise(SIGSEGV);
    if (is_now("exit")) std::exit(3);
    if (is_now("leave")) std::exit(0);
    if (is_now("quit")) ::_exit(0);
    if (is_now("wait")) std::this_thread::sleep_for(std::chrono::seconds(1));
    if (mishap.kind == "noise" && random_() % 64 == 0)
      std::this_thread::sleep_for(std::chrono::milliseconds(random_() % 100));
  }

  inline static std::minstd_rand random_{static_cast<unsigned>(::getpid())};
  Mpi inner_;
  bool fails_ = true;
};

void stay(int) {
  bool const volatile spins = Mishap::the().kind == "spin";
  for (;;)
    if (!spins) ::usleep(100000);
}

/// What happens at calls to the system.
parts::SystemCalls::Before at_calls(Asked const& fault) {
  return [fault, count = std::int64_t{0}](std::string const& call) mutable -> parts::CallEnd {
    if (call.starts_with("close ")) return {};  // of folders, mostly: nothing depends on it
    ++count;
    if (fault.kind == "count") std::ofstream("calls", std::ios::app) << call << "\n";
    if (fault.kind == "slow" && call.starts_with("fsync"))
      std::this_thread::sleep_for(std::chrono::milliseconds(fault.number));
    if (fault.kind == "kill" && count == fault.number) {
      strike(call);
      std::raise(SIGKILL);
    }
    return {};
  };
}

}  // namespace

int main(int argc, char** argv) {
  return guard_main(argc, argv, [&](Mpi const& mpi) {
    Mishap::the();
    std::signal(SIGUSR2, stay);
    std::vector<std::string> const overrides(argv + 2, argv + argc);
    auto const config = load_config(argv[1], overrides);
    Asked const at_call("NXD_CALL");
    std::optional<parts::SystemCalls> calls;
    if (at_call.kind == "slow" || at_call.rank == mpi.rank())
      calls.emplace("/checkpoints", at_calls(at_call));
    Faulty const comm(mpi);
    LlamaStart<Faulty> start(comm, config);
    LlamaRun<Xt, Duplicated, Faulty>(comm, config, start, std::cout).run();
    return 0;
  });
}
