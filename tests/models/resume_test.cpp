// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <filesystem>

#include <doctest/doctest.h>

#include <nxd/checkpoint/load.hpp>
#include <nxd/checkpoint/save.hpp>
#include <nxd/comm/threads.hpp>
#include <nxd/tensor/xtensor.hpp>

#include "small_llama.hpp"

using namespace nxd;
using namespace nxd::test;

namespace {

constexpr std::int64_t middle = 15;

struct Directory {
  std::string path =
      (std::filesystem::temp_directory_path() / ("nxd-resume-" + std::to_string(::getpid())))
          .string();
  ~Directory() { std::filesystem::remove_all(path); }
};

template <class Model, class Optimizer>
std::vector<Piece> pieces(Model const& model, Optimizer const& optimizer, Holding which) {
  auto all = model_pieces(model, which);
  for (auto& piece : optimizer_pieces(model, optimizer, which)) all.push_back(std::move(piece));
  return all;
}

/// A whole run that saves before step 15; or the second half of one, from what was saved.
enum class Stretch { whole, second_half };

template <class Region, class Strategy>
Outcome run(test::Job const& job, std::string const& directory, Stretch part) {
  std::vector<Outcome> ranks(static_cast<std::size_t>(job.dp * job.tp));
  Threads::run(job.dp * job.tp, [&](Threads::Rank rank) {
    PosixStorage storage(directory);
    auto const between = [&](std::int64_t step, auto const& model, auto& optimizer) {
      if (part == Stretch::second_half && step < middle) return false;
      if (step != middle) return true;
      if (part == Stretch::whole) {
        SaveRequest request;
        request.step = middle;
        request.pieces = pieces(model, optimizer, Holding::owned);
        request.state = "{}";
        save(rank, storage, request);
      } else {
        auto const loaded = resume(rank, storage, pieces(model, optimizer, Holding::all));
        optimizer.set_steps(loaded.value().manifest.step);
      }
      return true;
    };
    ranks[static_cast<std::size_t>(rank.rank())] =
        train_small<Region, Strategy, Xt>(rank, job, between);
  });
  return merged(ranks);
}

template <class Curve> std::vector<double> second_half(Curve const& all) {
  return {all.begin() + middle, all.end()};
}

}  // namespace

TEST_CASE("a run that is resumed in its own layout goes on with the same bits") {
  Directory const directory;
  test::Job const job{.dp = 2, .tp = 2, .accumulate = 2};
  auto whole = run<SequenceParallel<Seq>, Zero1<AdamW>>(job, directory.path, Stretch::whole);
  auto const rest =
      run<SequenceParallel<Seq>, Zero1<AdamW>>(job, directory.path, Stretch::second_half);
  whole.losses = second_half(whole.losses);
  whole.norms = second_half(whole.norms);
  bool const same = rest == whole;
  CHECK(same);
}

TEST_CASE("a run that is resumed in another layout continues the same curve") {
  Directory const directory;
  auto whole =
      run<SequenceParallel<Seq>, Zero1<AdamW>>({.dp = 2, .tp = 2}, directory.path, Stretch::whole);
  whole.losses = second_half(whole.losses);
  whole.norms = second_half(whole.norms);
  auto const check = [&](Outcome const& rest) {
    auto const d = distance(rest, whole);
    CHECK(d.loss < 2e-6);
    CHECK(d.norm < 2e-5);
    CHECK(d.parameters < 1e-5);
  };
  check(run<Duplicated, Replicated<AdamW>>({}, directory.path, Stretch::second_half));
  check(run<Duplicated, Replicated<AdamW>>({.tp = 4}, directory.path, Stretch::second_half));
  check(run<SequenceParallel<Seq>, Zero1<AdamW>>({.dp = 4, .accumulate = 2}, directory.path,
                                                 Stretch::second_half));
}
