// SPDX-License-Identifier: Apache-2.0
//
// Ranks that exchange, step by step, one of which does something else:
//
//   lost KIND RANK LINE LIMIT
//
// In step 10 that rank skips an exchange of the line (row, column, all; rows have two ranks), makes
// one more, makes it with another count, type, operation or root, or sends another message; or it
// stops, sleeps or spins. "none" does nothing. Each rank tells the steps that it has updated. A
// step may take LIMIT seconds. KIND with + in front is checked before each exchange.

#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include <nxd/comm/control.hpp>
#include <nxd/comm/guard.hpp>
#include <nxd/comm/recorder.hpp>
#include <nxd/comm/watchdog.hpp>

using namespace nxd;

namespace {

struct Rank {
  Recorder<Mpi>& comm;
  std::string kind, line;
  bool fails;  ///< this rank, in this step

  bool is(std::string const& what, std::string const& on) const {
    return fails && kind == what && line == on;
  }
  void reduce(Line along, std::string const& on) {
    std::vector<float> values(256, 1);
    std::vector<double> others(128, 1);
    if (is("skip", on)) return;
    if (is("type", on)) return comm.all_reduce(along, std::span<double>(others), Op::sum);
    if (is("count", on)) values.resize(128);
    comm.all_reduce(along, std::span<float>(values), is("operation", on) ? Op::max : Op::sum);
    if (is("extra", on)) comm.all_reduce(along, std::span<float>(values), Op::sum);
  }
  void broadcast(Line along, std::string const& on) {
    std::vector<float> values(256, 1);
    comm.broadcast(along, is("root", on) ? 1 : 0, std::span<float>(values));
  }
  void halt() const {
    if (!fails) return;
    if (kind == "stop") std::raise(SIGSTOP);
    while (kind == "sleep") ::usleep(100000);
    bool const volatile spins = kind == "spin";
    while (spins) continue;
  }
  void pass_on(std::int64_t rank) {
    std::vector<float> const mine(16, 1);
    std::vector<float> other(16);
    int const tag = fails && kind == "message" ? 8 : 7;
    auto received = comm.post_receive(rank ^ 1, 7, std::span<float>(other));
    comm.post_send(rank ^ 1, tag, std::span<float const>(mine)).wait();
    received.wait();
  }
};

}  // namespace

int main(int argc, char** argv) {
  return guard_main(argc, argv, [&](Mpi mpi) {
    std::string kind = argc > 4 ? argv[1] : "none";
    bool const checks = kind.starts_with('+');
    if (checks) kind.erase(0, 1);
    auto const rank = mpi.rank(), size = mpi.size();
    RollCall roll(mpi);
    Attendance attendance(roll.mine());
    Watchdog dog(roll, ".");
    Control control(mpi, attendance);
    if (checks) control.check_each();
    dog.limit(Phase::step, argc > 4 ? std::atof(argv[4]) : 0);
    Recorder comm(mpi);
    comm.tell(&attendance);
    Line const row{rank / 2 * 2, 1, 2, rank % 2}, column{rank % 2, 2, size / 2, rank / 2};
    Line const all{0, 1, size, rank};
    for (int step = 1; step <= 15; ++step) {
      this_process().step(step);
      dog.begin(Phase::step);
      Rank self{comm, kind, argc > 4 ? argv[3] : "", step == 10 && std::atoi(argv[2]) == rank};
      for (int layer = 0; layer < 3; ++layer) {
        this_process().at("F" + std::to_string(layer));
        if (layer == 1) self.halt();
        self.reduce(row, layer == 1 ? "row" : "");
        self.broadcast(row, layer == 1 ? "row" : "");
        self.pass_on(rank);
      }
      this_process().at("the optimizer");
      self.reduce(column, "column");
      self.reduce(all, "all");
      self.broadcast(all, "all");
      ControlWord word;
      word.step = step;
      control.exchange(word);
      std::printf("rank %d has updated step %d\n", static_cast<int>(rank), step);
    }
    std::fflush(nullptr);
    return 0;
  });
}
