// SPDX-License-Identifier: Apache-2.0
#include <limits>

#include <doctest/doctest.h>

#include <nxd/train/step_judge.hpp>
#include <nxd/train/stragglers.hpp>

using namespace nxd;

namespace {

constexpr auto not_a_number = std::numeric_limits<double>::quiet_NaN();

/// What three ranks say of a step that the last of them has seen so.
std::vector<ControlWord> words_of(StepJudge const& judge, StepReport const& seen) {
  std::vector<ControlWord> words(3);
  judge.fill(words[0], {1, 1});
  judge.fill(words[1], {1, 1});
  judge.fill(words[2], seen);
  return words;
}
std::optional<std::string> refuse(StepJudge& judge, StepReport const& seen) {
  return judge.refuse(words_of(judge, seen), seen);
}

}  // namespace

TEST_CASE("a step that is not finite on one rank ends the run, or is left out") {
  StepJudge stops({OnNonFinite::stop, 0, 10});
  CHECK_FALSE(refuse(stops, {2, 1}));
  CHECK_THROWS_AS(refuse(stops, {not_a_number, 1}), Error);
  StepJudge skips({OnNonFinite::skip, 0, 10});
  CHECK(refuse(skips, {not_a_number, 1}));
  CHECK(refuse(skips, {1, std::numeric_limits<double>::infinity()}));
  CHECK_FALSE(refuse(skips, {2, 1}));
}

TEST_CASE("so many steps in a row may be left out, and one more may not") {
  StepJudge judge({OnNonFinite::skip, 0, 2});
  for (int again = 0; again < 3; ++again) {
    CHECK(refuse(judge, {not_a_number, 1}));
    CHECK(refuse(judge, {not_a_number, 1}));
    CHECK_FALSE(refuse(judge, {1, 1}));
  }
  CHECK(refuse(judge, {not_a_number, 1}));
  CHECK(refuse(judge, {not_a_number, 1}));
  CHECK_THROWS_AS(refuse(judge, {not_a_number, 1}), Error);
}

TEST_CASE("a loss is a spike when it is more than so many times the mean of late") {
  SpikeDetector spikes(3);
  for (std::size_t i = 0; i < SpikeDetector::window; ++i) {
    CHECK_FALSE(spikes.is_spike(1e9));
    spikes.take(2);
  }
  CHECK_FALSE(spikes.is_spike(5.9));
  CHECK(spikes.is_spike(6.1));
  for (std::size_t i = 0; i < SpikeDetector::window; ++i) spikes.take(4);
  CHECK_FALSE(spikes.is_spike(11.9));
  StepJudge judge({OnNonFinite::stop, 3, 10});
  for (std::size_t i = 0; i < SpikeDetector::window; ++i) CHECK_FALSE(refuse(judge, {1, 1}));
  CHECK(refuse(judge, {5, 1}));
  CHECK_FALSE(refuse(judge, {1, 1}));
}

namespace {

std::vector<Stragglers::Finding> after(Stragglers& stragglers, std::vector<double> const& busy) {
  std::vector<ControlWord> words(busy.size());
  std::vector<Stragglers::Finding> found;
  for (std::size_t i = 0; i < Stragglers::window; ++i) {
    for (std::size_t r = 0; r < busy.size(); ++r) words[r].busy = i == 3 ? 5.0 : busy[r];
    for (auto const& f : stragglers.add(words)) found.push_back(f);
  }
  return found;
}

}  // namespace

TEST_CASE("a rank whose own work takes longer than that of its peers is slow") {
  Stragglers stragglers(4, 4, 0.7);
  CHECK(after(stragglers, {1, 1, 1, 1}).empty());
  CHECK(after(stragglers, {1, 1.3, 0.9, 1.1}).empty());
  auto const found = after(stragglers, {1, 1, 2, 1});
  REQUIRE(found.size() == 1);
  CHECK(found[0].rank == 2);
  CHECK(found[0].performance == doctest::Approx(0.5));
}

TEST_CASE("stages of a pipeline have other work, and are compared with themselves") {
  Stragglers stragglers(2, 1, 0.7);
  CHECK(after(stragglers, {1, 3}).empty());
  CHECK(after(stragglers, {1.1, 3}).empty());
  auto const found = after(stragglers, {1, 6});
  REQUIRE(found.size() == 1);
  CHECK(found[0].rank == 1);
  Stragglers two_stages(4, 2, 0.7);
  CHECK(after(two_stages, {1, 1, 3, 3}).empty());
  CHECK(after(two_stages, {1, 1, 3, 5}).size() == 1);
}
