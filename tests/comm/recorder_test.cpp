// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <nxd/comm/recorder.hpp>
#include <nxd/comm/threads.hpp>
#include <nxd/dist/roads.hpp>

#include "exchanges.hpp"

using namespace nxd;
using namespace nxd::test;

namespace {

/// One call of everything, 12 floats each, along all ranks.
template <class C> void call_everything(C& comm) {
  auto const line = everyone(comm);
  auto const count = static_cast<std::size_t>(line.count);
  std::vector<float> const in(12);
  std::vector<float> values(12), all(12 * count), mine(12 / count);
  comm.all_gather(line, constant(in), std::span<float>(all));
  comm.all_to_all(line, constant(in), std::span<float>(values));
  comm.broadcast(line, 0, std::span<float>(values));
  all_reduce(comm, line, std::span<float>(values));
  reduce_scatter(comm, line, constant(in), std::span<float>(mine));
  comm.send((comm.rank() + 1) % comm.size(), 0, constant(in));
  comm.receive((comm.rank() + comm.size() - 1) % comm.size(), 0, std::span<float>(values));
  comm.barrier();
}

}  // namespace

TEST_CASE("every call is written down with the bytes that it sends") {
  Recorder recorder(Nobody(0, 4), true);
  call_everything(recorder);
  auto const totals = recorder.totals();
  CHECK(totals.at({Exchange::all_gather, 1, 4}) == Traffic{1, 3, 144});
  CHECK(totals.at({Exchange::all_to_all, 1, 4}) == Traffic{1, 3, 36});
  CHECK(totals.at({Exchange::broadcast, 1, 4}) == Traffic{1, 3, 144});
  CHECK(totals.at({Exchange::all_reduce, 1, 4}) == Traffic{1, 6, 72});
  CHECK(totals.at({Exchange::reduce_scatter, 1, 4}) == Traffic{1, 3, 36});
  CHECK(totals.at({Exchange::send, 1, 2}) == Traffic{1, 1, 48});
  CHECK(totals.at({Exchange::receive, 3, 2}) == Traffic{1, 0, 0});
  CHECK(totals.at({Exchange::barrier, 1, 4}) == Traffic{1, 0, 0});
  CHECK(totals.size() == 8);
  CHECK(recorder.total() == Traffic{8, 19, 480});
  CHECK(recorder.calls().front().exchange == Exchange::all_gather);
}

TEST_CASE("a dry run of one rank writes down what that rank of a real run does") {
  for (std::int64_t const ranks : {2, 3, 4})
    Threads::run(ranks, [&](Threads::Rank comm) {
      Recorder real(comm);
      Recorder dry(Nobody(comm.rank(), ranks));
      Recorder plain(Plain<Threads::Rank>{comm});
      call_everything(real);
      call_everything(plain);
      call_everything(dry);
      if (real.totals() != dry.totals() || real.totals() != plain.totals())
        throw std::runtime_error("other traffic");
    });
}

TEST_CASE("the record agrees with what the roads of the type system cost") {
  constexpr std::int64_t whole = 1200 * sizeof(float);
  Recorder recorder(Nobody(1, 4));
  std::vector<float> values(1200), slice(300), traded(300);
  all_reduce(recorder, everyone(recorder), std::span<float>(values));
  CHECK(recorder.total().bytes == bytes_sent(Way::all_reduce, whole, 4));
  recorder.clear();
  recorder.all_gather(everyone(recorder), constant(slice), std::span<float>(values));
  CHECK(recorder.total().bytes == bytes_sent(Way::all_gather, whole, 4));
  recorder.clear();
  reduce_scatter(recorder, everyone(recorder), constant(values), std::span<float>(slice));
  CHECK(recorder.total().bytes == bytes_sent(Way::reduce_scatter, whole, 4));
  recorder.clear();
  recorder.all_to_all(everyone(recorder), constant(slice), std::span<float>(traded));
  CHECK(recorder.total().bytes == bytes_sent(Way::all_to_all, whole, 4));
}

TEST_CASE("to be recorded changes no bit of what is computed") {
  for (std::int64_t const ranks : {1, 2, 3, 4})
    Threads::run(ranks, [](Threads::Rank comm) {
      auto const bare = digest_of_exchanges(comm);
      if (digest_of_exchanges(Recorder(comm)) != bare) throw std::runtime_error("other bits");
    });
}

TEST_CASE("copies write into one record, and it can be begun anew") {
  Recorder recorder(Nobody(0, 2));
  auto copy = recorder;
  copy.barrier();
  CHECK(recorder.total().calls == 1);
  recorder.clear();
  CHECK(copy.totals().empty());
}

TEST_CASE("a line of one rank sends nothing") {
  Recorder recorder(Nobody(2, 4));
  std::vector<float> values(12), out(12);
  all_reduce(recorder, {2, 1, 1, 0}, std::span<float>(values));
  recorder.all_gather({2, 1, 1, 0}, constant(values), std::span<float>(out));
  CHECK(recorder.total() == Traffic{1, 0, 0});
}
