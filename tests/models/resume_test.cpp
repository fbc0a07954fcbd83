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
  inline static int count = 0;
  std::string path = (std::filesystem::temp_directory_path() /
                      ("nxd-resume-" + std::to_string(::getpid()) + "-" + std::to_string(count++)))
                         .string();
  ~Directory() { std::filesystem::remove_all(path); }
};

/// A whole run that saves before step 15; or the second half of one, from what was saved.
enum class Stretch { whole, second_half };

template <class Region, class Strategy, class Backend = Xt>
Outcome run(test::Job const& job, std::string const& directory, Stretch part,
            WeightPrecision precision = {}) {
  std::vector<Outcome> ranks(static_cast<std::size_t>(job.dp * job.tp));
  Threads::run(job.dp * job.tp, [&](Threads::Rank rank) {
    PosixStorage storage(directory);
    auto const between = [&](std::int64_t step, auto const& model, auto& optimizer) {
      if (part == Stretch::second_half && step < middle) return false;
      if (step != middle) return true;
      if (part == Stretch::whole) {
        SaveRequest request;
        request.step = middle;
        request.pieces = training_pieces(model, optimizer, Holding::owned);
        request.state = "{}";
        save(rank, storage, request);
      } else {
        auto const loaded = resume(rank, storage, training_pieces(model, optimizer, Holding::all));
        optimizer.set_steps(loaded.value().manifest.step);
        optimizer.give_weights(model);
      }
      return true;
    };
    ranks[static_cast<std::size_t>(rank.rank())] =
        train_small<Region, Strategy, Backend>(rank, job, between, precision);
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

TEST_CASE("what is saved right after an update is whole, though weights are still on their way") {
  Directory const directory;
  test::Job job{.dp = 4, .accumulate = 2};
  auto expected = run<SequenceParallel<Seq>, Zero1<AdamW>>(job, directory.path, Stretch::whole);
  job.overlaps = {Overlap::always, Overlap::always};
  Directory const other;
  auto const whole = run<SequenceParallel<Seq>, Zero1<AdamW>>(job, other.path, Stretch::whole);
  auto const rest = run<SequenceParallel<Seq>, Zero1<AdamW>>(job, other.path, Stretch::second_half);
  bool const same = whole == expected;
  CHECK(same);
  expected.losses = second_half(expected.losses);
  expected.norms = second_half(expected.norms);
  bool const resumed = rest == expected;
  CHECK(resumed);
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

TEST_CASE("a run in bf16 that is resumed goes on with the same bits, masters or none") {
  constexpr WeightPrecision by_chance{.master = false, .rounding = Rounding::stochastic};
  for (auto const& precision : {WeightPrecision{}, by_chance}) {
    Directory const directory;
    test::Job const job{.dp = 2, .tp = 2};
    auto whole =
        run<Duplicated, Zero1<AdamW>, XtBf16>(job, directory.path, Stretch::whole, precision);
    auto const rest =
        run<Duplicated, Zero1<AdamW>, XtBf16>(job, directory.path, Stretch::second_half, precision);
    whole.losses = second_half(whole.losses);
    whole.norms = second_half(whole.norms);
    CHECK(rest == whole);
  }
}

TEST_CASE("floats go on from what bf16 has saved, and bf16 from floats") {
  Directory const shorts, floats;
  auto const zero1 = [&](auto backend, std::string const& path, Stretch part, std::int64_t tp) {
    using Backend = typename decltype(backend)::type;
    return run<Duplicated, Zero1<AdamW>, Backend>({.tp = tp}, path, part);
  };
  std::type_identity<Xt> const in_floats;
  std::type_identity<XtBf16> const in_shorts;
  auto const a = zero1(in_shorts, shorts.path, Stretch::whole, 2);
  auto const b = zero1(in_floats, floats.path, Stretch::whole, 1);
  auto const there = zero1(in_floats, shorts.path, Stretch::second_half, 1);
  auto const back = zero1(in_shorts, floats.path, Stretch::second_half, 2);
  for (std::size_t i = 0; i < there.losses.size(); ++i) {
    CHECK(there.losses[i] == doctest::Approx(second_half(a.losses)[i]).epsilon(0.005));
    CHECK(back.losses[i] == doctest::Approx(second_half(b.losses)[i]).epsilon(0.005));
  }
}
