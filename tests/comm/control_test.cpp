// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <deque>
#include <vector>

#include <doctest/doctest.h>

#include <nxd/comm/control.hpp>
#include <nxd/comm/threads.hpp>

using namespace nxd;

namespace {

/// What each of three ranks does in a step, on paper, before all tell each other their words.
template <class Work> void a_step(Work const& work) {
  std::deque<Sheet> sheets(3);
  std::deque<Whereabouts> places(3);
  Threads::run(3, [&](Threads::Rank comm) {
    auto const rank = static_cast<std::size_t>(comm.rank());
    places[rank].step(7);
    Attendance attendance(sheets[rank], places[rank]);
    Control control(comm, attendance);
    auto const comes = [&](std::int64_t bytes) {
      Line const everyone{0, 1, 3, comm.rank()};
      static_cast<void>(
          attendance.enter({Exchange::all_reduce, element_code<float>(), everyone, bytes}));
    };
    ControlWord word;
    word.step = 7;
    work(comm.rank(), comes, word);
    auto const words = control.exchange(word);
    if (std::ssize(words) != 3 || words[2].step != 7) throw std::logic_error("words");
  });
}

}  // namespace

TEST_CASE("ranks that have done the same go on") {
  CHECK_NOTHROW(a_step([](auto, auto const& comes, auto&) { comes(64), comes(128), comes(64); }));
}

TEST_CASE("one more exchange, one less, or another, and nothing is updated: the rank is named") {
  auto const said = [](auto const& work) {
    try {
      a_step(work);
    } catch (Error const& e) {
      CHECK(e.code == ExitCode::desync);
      return std::string(e.what());
    }
    return std::string();
  };
  for (std::int64_t const lost : {0, 1, 2}) {
    auto const name = "rank " + std::to_string(lost) + " ";
    auto const other = said([&](auto rank, auto const& comes, auto&) {
      comes(64), comes(rank == lost ? 32 : 128), comes(64);
    });
    CHECK(other.find(name + "does not do what the others do") != std::string::npos);
    CHECK(other.ends_with("nothing was updated"));
    for (bool const more : {false, true}) {
      auto const count = said([&](auto rank, auto const& comes, auto&) {
        comes(64);
        if ((rank == lost) == more) comes(64);
      });
      CHECK(count.find(name) != std::string::npos);
    }
    auto const step = said([&](auto rank, auto const&, auto& word) { word.step += rank == lost; });
    CHECK(step.find(lost == 0 ? "rank 1 is at step 7" : name + "is at step 8") !=
          std::string::npos);
  }
}
