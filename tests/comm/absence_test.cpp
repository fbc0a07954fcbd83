// SPDX-License-Identifier: Apache-2.0
#include <deque>

#include <doctest/doctest.h>

#include <nxd/comm/absence.hpp>

using namespace nxd;

namespace {

/// Ranks that come to exchanges on paper.
struct Job {
  std::deque<Whereabouts> places;
  std::deque<Sheet> sheets;
  std::deque<Attendance> attendances;
  std::vector<Attendance::Stay*> stays;

  explicit Job(std::int64_t ranks) {
    for (std::int64_t r = 0; r < ranks; ++r) {
      auto& place = places.emplace_back();
      place.step(12);
      attendances.emplace_back(sheets.emplace_back(), place);
    }
  }
  ~Job() {
    for (auto* stay : stays) delete stay;
  }
  Job(Job const&) = delete;
  Job& operator=(Job const&) = delete;

  Attendance& operator[](std::int64_t rank) { return attendances[static_cast<std::size_t>(rank)]; }
  Rendezvous reduce(std::int64_t rank, Line line, std::int64_t bytes = 64) const {
    line.place = (rank - line.first) / line.stride;
    return {Exchange::all_reduce, element_code<float>(), line, bytes};
  }
  void meets(std::int64_t rank, Line line, std::int64_t bytes = 64) {
    auto const stay = (*this)[rank].enter(reduce(rank, line, bytes));
  }
  void waits(std::int64_t rank, Rendezvous const& r) {
    stays.push_back(new Attendance::Stay((*this)[rank].enter(r)));
  }
  void waits(std::int64_t rank, Line line, std::int64_t bytes = 64) {
    waits(rank, reduce(rank, line, bytes));
  }
  std::vector<Presence> look() const {
    std::vector<Presence> all;
    for (std::size_t r = 0; r < sheets.size(); ++r) {
      Presence p;
      p.rank = static_cast<std::int64_t>(r);
      p.state = Presence::State::running;
      p.inside = sheets[r].inside.load() != 0;
      p.present = sheets[r].present.load();
      p.at = places[r].text();
      p.past = Attendance::past_of(sheets[r]);
      all.push_back(std::move(p));
    }
    return all;
  }
  std::uint64_t balance() const {
    std::uint64_t sum = 0;
    for (auto const& a : attendances) sum += a.balance();
    return sum;
  }
};

using Ranks = std::set<std::int64_t>;

Line const all{0, 1, 4, 0}, low{0, 1, 2, 0}, high{2, 1, 2, 0};

}  // namespace

TEST_CASE("ranks that do the same balance, whatever lines they are on") {
  Job job(4);
  for (int i = 0; i < 5; ++i)
    for (std::int64_t r = 0; r < 4; ++r) {
      job.meets(r, r < 2 ? low : high, 64 * (i + 1));
      job.meets(r, all);
    }
  CHECK(job.balance() == 0);
  CHECK_FALSE(find_difference(job.look()));
}

TEST_CASE("another count, another order, or one exchange more do not balance, and are found") {
  for (int const wrong : {0, 1, 2}) {
    Job job(4);
    for (std::int64_t r = 0; r < 4; ++r) {
      bool const is_wrong = r == 2;
      job.meets(r, all, 128);
      job.meets(r, all, is_wrong && wrong == 0 ? 32 : is_wrong && wrong == 1 ? 256 : 64);
      job.meets(r, all, is_wrong && wrong == 1 ? 64 : 256);
      if (is_wrong && wrong == 2) job.meets(r, all, 64);
    }
    CHECK(job.balance() != 0);
    if (wrong == 2) continue;  // of which the others know nothing yet
    auto const found = find_difference(job.look());
    REQUIRE(found);
    CHECK(found->guilty == Ranks{2});
  }
}

TEST_CASE("the place in the plan is part of what ranks do") {
  Job job(2);
  job.meets(0, low);
  job.places[1].at("B3");
  job.meets(1, low);
  CHECK(job.balance() != 0);
}

TEST_CASE("messages balance when they have their receivers, in any order") {
  auto const message = [](Exchange e, int tag, std::int64_t place) {
    return Rendezvous{e, element_code<float>(), {0, 1, 2, place}, 64, tag};
  };
  Job job(2);
  job[0].count(message(Exchange::send, 1, 0));
  job[0].count(message(Exchange::receive, 2, 0));
  job[1].count(message(Exchange::send, 2, 1));
  CHECK(job.balance() != 0);
  job[1].count(message(Exchange::receive, 1, 1));
  CHECK(job.balance() == 0);
  job[0].count(message(Exchange::receive, 3, 0));
  job[1].count(message(Exchange::receive, 3, 1));
  CHECK(job.balance() != 0);
}

TEST_CASE("who is awaited and waits for nobody keeps the others waiting") {
  Job job(4);
  job.waits(0, low);
  job.waits(2, all);
  job.waits(3, all);
  auto const found = find_absence(job.look());
  CHECK(found.guilty == Ranks{1});
  CHECK(found.sentence.starts_with("rank 1 is at step 12, in no exchange; rank 0 "));
}

TEST_CASE("who stays inside an exchange to which all have come keeps the others waiting") {
  Job job(4);
  for (std::int64_t r = 0; r < 4; ++r)
    if (r != 3) job.meets(r, all);
  job.waits(3, all);
  for (std::int64_t r = 0; r < 3; ++r) job.waits(r, all);
  CHECK(find_absence(job.look()).guilty == Ranks{3});
}

TEST_CASE("ranks that wait for each other are all named") {
  Job job(4);
  job.waits(1, low);
  job.waits(0, all);
  job.waits(2, all);
  job.waits(3, all);
  CHECK(find_absence(job.look()).guilty == Ranks{0, 1});
}

TEST_CASE("a rank that is stopped or gone is named before all others") {
  Job job(4);
  for (std::int64_t r = 0; r < 4; ++r) job.waits(r, all);
  auto ranks = job.look();
  ranks[2].state = Presence::State::stopped;
  CHECK(find_absence(ranks).guilty == Ranks{2});
  ranks[2].state = Presence::State::gone;
  CHECK(find_absence(ranks).sentence.starts_with("rank 2 is gone; it was at step 12"));
}

TEST_CASE("what was long ago is forgotten, and not found wrong") {
  Job job(2);
  for (std::int64_t i = 0; i < 3 * Sheet::kept; ++i) job.meets(0, low);
  for (std::int64_t i = 0; i < 3 * Sheet::kept - 500; ++i) job.meets(1, low);
  CHECK_FALSE(find_difference(job.look()));
  CHECK(job.look()[0].past.size() == Sheet::kept);
}

TEST_CASE(
    "who does not come to a sum that goes on by itself is named where the others wait for it") {
  Job job(4);
  auto const begins = [&](std::int64_t rank) { return job[rank].begin(job.reduce(rank, all)); };
  for (std::int64_t const rank : {0, 1, 3}) {
    auto const first = begins(rank);
    if (rank < 2) job.meets(rank, low);  // they do something else meanwhile
    job.stays.push_back(new Attendance::Stay(job[rank].wait(first)));
  }
  auto const found = find_absence(job.look());
  CHECK(found.guilty == Ranks{2});
  CHECK(found.sentence.find("rank 2 is at step 12") != std::string::npos);
}

TEST_CASE("sums that go on by themselves are counted where they begin") {
  Job job(2);
  for (std::int64_t const rank : {0, 1}) {
    auto const first = job[rank].begin(job.reduce(rank, low));
    auto const second = job[rank].begin(job.reduce(rank, low, 32));
    CHECK(second.nth == first.nth + 1);
    if (rank == 0) auto const stay = job[rank].wait(first);
  }
  CHECK(job.balance() == 0);
  static_cast<void>(job[0].begin(job.reduce(0, low)));
  CHECK(job.balance() != 0);
}
