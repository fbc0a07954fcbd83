// SPDX-License-Identifier: Apache-2.0
//
// What does a checkpoint cost a run? A Llama of 15 M parameters is trained on data-parallel ranks
// and saved in the background.
//
//   mpirun -np N checkpoint [DIR] [--json]          threads of a rank: OMP_NUM_THREADS
//
// The stall is the time of the main thread between steps: the copy, and all that is beyond it, over
// the step's time. Copies, saves and loads stand beside a memcpy, a write with fsync and a read of
// the same bytes, in the same run. DIR, where files go, is the working directory if none is given.

#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include <nxd/checkpoint/async_save.hpp>
#include <nxd/checkpoint/load.hpp>
#include <nxd/checkpoint/snapshot.hpp>
#include <nxd/comm/guard.hpp>
#include <nxd/models/llama.hpp>
#include <nxd/models/llama_plan.hpp>
#include <nxd/tensor/xtensor.hpp>
#include <nxd/train/pieces.hpp>
#include <nxd/train/step.hpp>

#include "llamas.hpp"
#include "measure.hpp"

namespace {

using namespace nxd;
using bench::median, bench::seconds;

/// Of all ranks the slowest.
double slowest(double mine) {
  MPI_Allreduce(MPI_IN_PLACE, &mine, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
  return mine;
}
double timed(std::function<void()> const& work) {
  MPI_Barrier(MPI_COMM_WORLD);
  return slowest(seconds(work));
}

/// Rows of a table: what, how much, its unit.
class Table {
 public:
  void row(char const* what, double value, char const* unit) {
    char text[200];
    std::snprintf(text, sizeof text, "%-58s %10.2f %s\n", what, value, unit);
    lines_ += text;
    std::snprintf(text, sizeof text, "%s{\"what\": \"%s\", \"value\": %.4g, \"unit\": \"%s\"}",
                  json_.empty() ? "" : ", ", what, value, unit);
    json_ += text;
  }
  void print(bool json, int ranks) const {
    if (json)
      std::printf("{\"benchmark\": \"checkpoint\", \"ranks\": %d, \"rows\": [%s]}\n", ranks,
                  json_.c_str());
    else
      std::printf("%d ranks\n%s", ranks, lines_.c_str());
  }

 private:
  std::string lines_, json_;
};

void write_raw(PosixStorage& storage, std::string const& name, std::vector<Piece> const& pieces) {
  auto file = storage.create(name);
  file.reserve(total_bytes(pieces));
  for (auto const& piece : pieces) file.write(piece.bytes);
  file.sync();
  file.close();
}

void copy_plainly(std::vector<Piece> const& pieces, std::vector<std::byte>& to) {
  auto* at = to.data();
  for (auto const& piece : pieces) {
    std::memcpy(at, piece.bytes.data(), piece.bytes.size());
    at += piece.bytes.size();
  }
}

void read_raw(PosixStorage& storage, std::string const& name) {
  auto file = storage.open(name);
  std::vector<std::byte> chunk(4 << 20);
  for (std::int64_t at = 0; at < file.size(); at += std::ssize(chunk))
    file.read(at, std::span(chunk).first(
                      static_cast<std::size_t>(std::min(std::ssize(chunk), file.size() - at))));
}

/// Trains, saves every 4 steps in the background, and says what that costs.
template <class World, class Model, class Optimizer>
void measure_training(Mpi& comm, World& world, Model const& model, Optimizer& optimizer,
                      PosixStorage& storage, Microbatch const& batch, Table& table) {
  auto const pieces = training_pieces(model, optimizer, Holding::shared);
  Snapshot<Xt> snapshot(total_bytes(pieces));
  AsyncSave<PosixStorage> save(storage);
  std::vector<double> quiet, beside, copies, memcpies, stalls, lasted;
  std::vector<std::byte> plain(static_cast<std::size_t>(snapshot.bytes()), std::byte{1});
  double stall = 0;
  constexpr int every = 4, saves = 5;
  for (int step = -2; step < every * saves; ++step) {
    bool const busy = save.under_way();
    auto const time = timed(
        [&] { train_step(world, model, optimizer, std::span<Microbatch const>(&batch, 1), 1e-4); });
    (busy ? beside : quiet).push_back(time);
    std::optional<SaveEnd> end;
    stall += timed([&] { end = save.poll(comm); });
    if (!end && step > 0 && (step % every == 0 || step + 1 == every * saves))
      end = save.wait(comm);  // the machine is slow: what is waited for here is no stall of a step
    if (end) {
      if (!end->saved) throw IoError(end->failure);
      stalls.push_back(stall);
      lasted.push_back(end->seconds);
    }
    if (step >= 0 && step % every == 0 && step + 1 < every * saves) {
      SaveRequest request;
      request.step = step;
      request.state = "{}";
      auto const copy = [&] {
        copies.push_back(timed([&] { request.pieces = snapshot.copy(pieces); }));
      };
      if (step % (2 * every) == 0) copy();
      memcpies.push_back(timed([&] { copy_plainly(pieces, plain); }));
      if (step % (2 * every) != 0) copy();
      stall = timed([&] { save.begin(comm, std::move(request)); });
    }
  }
  auto const step = median(quiet), bytes = static_cast<double>(snapshot.bytes());
  table.row("step", 1e3 * step, "ms");
  table.row("state that a rank saves", bytes / 1e6, "MB");
  table.row("copy of it", 1e-9 * bytes / median(copies), "GB/s a rank");
  table.row("memcpy of the same bytes, one thread", 1e-9 * bytes / median(memcpies), "GB/s a rank");
  table.row("copy over memcpy, bandwidths", median(memcpies) / median(copies), "");
  table.row("copy over a step", 100 * median(copies) / step, "%");
  table.row("all beyond the copy, until the commit is told", 1e3 * median(stalls), "ms");
  table.row("the same over a step", 100 * median(stalls) / step, "%");
  table.row("from the copy to the end of the save", 1e3 * median(lasted), "ms");
  table.row("steps beside a save over others", median(beside) / step, "");
}

void measure_files(Mpi& comm, PosixStorage& storage, std::vector<Piece> const& shared,
                   std::vector<Piece> const& all, Table& table) {
  std::vector<double> saves, writes, each, one, unchecked, reads;
  auto const raw = "raw-" + std::to_string(comm.rank());
  double bytes = static_cast<double>(total_bytes(shared)), needed = 0;
  MPI_Allreduce(MPI_IN_PLACE, &bytes, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
  needed = bytes;
  for (int i = 0; i < 5; ++i) {
    SaveRequest request;
    request.step = 1000 + i;
    request.state = "{}";
    request.pieces = shared;
    SaveResult saved;
    saves.push_back(timed([&] { saved = save(comm, storage, request); }));
    writes.push_back(timed([&] { write_raw(storage, raw, shared); }));
    auto const load_as = [&](Reading reading, Verify verify) {
      LoadOptions options;
      options.reading = reading;
      options.verify = verify;
      return timed([&] { load(comm, storage, saved.entry, all, options); });
    };
    each.push_back(load_as(Reading::each, Verify::digests));
    one.push_back(load_as(Reading::shared, Verify::digests));
    unchecked.push_back(load_as(Reading::shared, Verify::crcs));
    reads.push_back(timed([&] { read_raw(storage, raw); }));
    storage.remove(raw);
  }
  table.row("save that is waited for", 1e-6 * bytes / median(saves), "MB/s");
  table.row("write and fsync of the same bytes", 1e-6 * bytes / median(writes), "MB/s");
  table.row("load, each rank reads", 1e-6 * needed / median(each), "MB/s");
  table.row("load, ranks share the reading", 1e-6 * needed / median(one), "MB/s");
  table.row("the same without digests", 1e-6 * needed / median(unchecked), "MB/s");
  table.row("read of the same bytes, cached", 1e-6 * needed / median(reads), "MB/s");
}

}  // namespace

int main(int argc, char** argv) {
  bool json = false;
  std::string directory = ".";
  for (int i = 1; i < argc; ++i)
    if (std::strcmp(argv[i], "--json") == 0)
      json = true;
    else
      directory = argv[i];
  return guard_main(argc, argv, [&](Mpi comm) {
    auto const config = bench::llama_15m();
    LlamaLayout const layout{
        .data_parallel = comm.size(), .micro_batch = 4, .seq_length = 256, .kv_copies = 1};
    World<LlamaPlan, Xt, Mpi> world(make_plan(config, layout), comm);
    Llama<Duplicated, decltype(world)> const model(world, config);
    initialize(model, 1);
    Optimizer<Zero1<AdamW>, decltype(world)> optimizer(world, model, {});
    auto const folder = directory + "/nxd-benchmark-" +
                        from_first_rank(comm, [] { return std::to_string(::getpid()); });
    PosixStorage storage(folder);
    Table table;
    measure_training(comm, world, model, optimizer, storage,
                     bench::random_batch(layout.micro_batch * layout.seq_length, config.vocab_size),
                     table);
    measure_files(comm, storage, training_pieces(model, optimizer, Holding::shared),
                  training_pieces(model, optimizer, Holding::all), table);
    comm.barrier();
    if (comm.rank() == 0) {
      std::filesystem::remove_all(folder);
      table.print(json, static_cast<int>(comm.size()));
    }
    return 0;
  });
}
