// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <nxd/pipeline/kinds.hpp>
#include <nxd/plan/compare.hpp>
#include <nxd/plan/plan_trace.hpp>

using namespace nxd;

namespace {

TraceFacts const facts{{"ranks", "4"}, {"data.micro_batch_size", "1"}};

/// Two places of two ranks each: the forward pass of 2 ms on place 0 and 1 ms on place 1, backward
/// twice that, an optimizer of 3 ms with 1 ms of exchanges, and no time for messages.
struct Small {
  Machine machine;
  StepPlan plan;

  Small() {
    machine.within = {};
    for (auto& price : machine.within) price = {0, 0};
    machine.within[static_cast<std::size_t>(Exchange::all_reduce)] = {2e-4, 1e-6};
    machine.within[static_cast<std::size_t>(Exchange::send)] = {0, 1e-9};
    machine.between = machine.within;
    plan.schedule = OneFOneB::make(2, 2);
    plan.ranks = 4;
    plan.tokens = 1;
    for (std::int64_t place = 0; place < 2; ++place) {
      RankPlan r;
      r.rank = 2 * place;
      r.optimizer_seconds = 3e-3;
      r.cost.traffic[{Exchange::all_reduce, 1, 2}] = {1, 2, 600};
      r.cost.traffic[{Exchange::send, 2, 2}] = {2, 2, 1 << 20};
      for (auto const& a : plan.schedule.actions[static_cast<std::size_t>(place)])
        r.seconds.push_back((a.kind == Pass::forward ? 2e-3 : 4e-3) /
                            static_cast<double>(place + 1));
      plan.places.push_back(r);
    }
    settle(plan, machine, 0);
  }

  /// A rank that does what is planned, `slow` times as slowly, in steps of 50 ms, but that its
  /// first step is ten times as slow; and waits 1 ms in each backward pass, 2 ms in an exchange.
  RankTrace run(std::int64_t rank, double slow, int steps = 3) const {
    RankTrace trace{rank, "rank", {}, facts};
    trace.facts["began"] = "17";
    auto const place = static_cast<std::size_t>(rank / 2);
    double now = 0;
    for (int step = 0; step < steps; ++step) {
      auto const factor = step == 0 && steps > 1 ? 10 * slow : slow;
      auto const start = now;
      auto const& actions = plan.schedule.actions[place];
      for (std::size_t i = 0; i < actions.size(); ++i) {
        auto const begin = now;
        if (actions[i].kind == Pass::backward)
          trace.events.push_back({"wait", "message", now, now + 1e-3}), now += 1e-3;
        now += factor * plan.places[place].seconds[i];
        trace.events.push_back({name_of(actions[i].kind), text(actions[i]), begin, now});
      }
      trace.events.push_back({"exchange", "all_reduce", now, now + 2e-3});
      trace.events.push_back({"optimizer", "optimizer", now, now + factor * 3e-3});
      now += factor * 3e-3;
      trace.events.push_back({"forward", "F9.0", now, now + 1});
      trace.events.push_back({"validation", "validation", now, now + 1});
      now = start + 2;
      trace.events.push_back({"step", "step " + std::to_string(step + 4), start, now});
    }
    trace.events = in_order(std::move(trace.events));
    return trace;
  }

  std::string refusal(RankTrace const& trace, ExitCode code) const {
    Comparison comparison(plan, machine, facts);
    comparison.add(run(0, 1), "0.json");
    try {
      comparison.add(trace, "1.json");
    } catch (Error const& e) {
      CHECK(e.code == code);
      return e.what();
    }
    return "";
  }
};

Compared at(Comparison const& c, std::size_t place, Activity a) {
  return c.places()[place][static_cast<std::size_t>(a)];
}

}  // namespace

TEST_CASE("each activity has its mean of the plan and that of all ranks and steps but the first") {
  Small const small;
  Comparison c(small.plan, small.machine, facts);
  for (std::int64_t rank = 0; rank < 4; ++rank)
    c.add(small.run(rank, rank % 2 == 0 ? 1.0 : 2.0), "x.json");
  CHECK(c.steps() == std::vector<std::string>{"step 5", "step 6"});
  for (std::size_t place = 0; place < 2; ++place) {
    auto const share = static_cast<double>(place + 1);
    CHECK(at(c, place, Activity::forward).predicted == doctest::Approx(2e-3 / share));
    CHECK(at(c, place, Activity::forward).measured == doctest::Approx(3e-3 / share));
    CHECK(at(c, place, Activity::forward).ratio() == doctest::Approx(1.5));
    CHECK(at(c, place, Activity::forward).times == 2 * 2 * 2);
    CHECK(at(c, place, Activity::backward).predicted == doctest::Approx(4e-3 / share));
    CHECK(at(c, place, Activity::backward).measured == doctest::Approx(6e-3 / share));
    CHECK(at(c, place, Activity::optimizer).predicted == doctest::Approx(3e-3));
    CHECK(at(c, place, Activity::optimizer).measured == doctest::Approx(4.5e-3));
    CHECK(at(c, place, Activity::exchange).predicted == doctest::Approx(2 * 2e-4 + 600e-6));
    CHECK(at(c, place, Activity::exchange).measured == doctest::Approx(2e-3));
    CHECK(at(c, place, Activity::wait).measured == doctest::Approx(2e-3));
    CHECK(at(c, place, Activity::step).predicted == doctest::Approx(small.plan.seconds));
    CHECK(at(c, place, Activity::step).measured == doctest::Approx(1));
    CHECK(at(c, place, Activity::weight_gradient).times == 0);
  }
  // F0 F1 . B0 . B1 and, half as long each, . F0 B0 F1 B1: all done after 2 + 2 + 1 + 2 + 4 ms.
  CHECK(small.plan.timeline.makespan == doctest::Approx(13e-3));
  CHECK(at(c, 0, Activity::wait).predicted == doctest::Approx(1e-3));
  CHECK(at(c, 1, Activity::wait).predicted == doctest::Approx(2e-3));
}

TEST_CASE("a single step counts, though it is the first") {
  Small const small;
  Comparison c(small.plan, small.machine, facts);
  for (std::int64_t rank = 0; rank < 4; ++rank) c.add(small.run(rank, 2, 1), "x.json");
  CHECK(c.steps() == std::vector<std::string>{"step 4"});
  CHECK(at(c, 0, Activity::forward).ratio() == doctest::Approx(2));
}

TEST_CASE("traces of another run are refused with a sentence that says what is another") {
  Small const small;
  CHECK(small.refusal(small.run(1, 1), ExitCode::done) == "");
  auto other = small.run(1, 1);
  other.facts["data.micro_batch_size"] = "2";
  CHECK(small.refusal(other, ExitCode::config) ==
        "1.json: is of a run with data.micro_batch_size 2, but the plan has 1; plan what was run");
  other = small.run(1, 1);
  other.facts.erase("ranks");
  CHECK(small.refusal(other, ExitCode::corrupt) == "1.json: does not say ranks");
  other = small.run(1, 1);
  other.facts["began"] = "18";
  CHECK(small.refusal(other, ExitCode::corrupt) ==
        "1.json: is of another run than the trace of rank 0");
  CHECK(small.refusal(small.run(1, 1, 2), ExitCode::corrupt) ==
        "1.json: is of another run than the trace of rank 0");
  CHECK(small.refusal(small.run(1, 1, 0), ExitCode::corrupt) == "1.json: has no step");
  other = small.run(1, 1);
  std::erase_if(other.events, [](auto const& e) { return e.name == "F1.0"; });
  CHECK(small.refusal(other, ExitCode::config) ==
        "1.json: step 4 does B0.0 where the plan does F1.0; plan what was run");
  other = small.run(1, 1);
  std::erase_if(other.events, [](auto const& e) { return e.name == "B1.0"; });
  CHECK(small.refusal(other, ExitCode::config) ==
        "1.json: step 4 does nothing where the plan does B1.0; plan what was run");
}

TEST_CASE("the table has a row for what is planned or done, the JSON the same in seconds") {
  Small const small;
  Comparison c(small.plan, small.machine, facts);
  for (std::int64_t rank = 0; rank < 4; ++rank) c.add(small.run(rank, 1), "x.json");
  CHECK(compare_text(small.plan, c, small.machine, "title")
            .starts_with("title\nmeans    of step 5 to step 6, ms  (built-in constants)\n"
                         "  ranks       what  times  predicted  measured  ratio\n"
                         "  0-1      forward      8          2         2   1.00\n"
                         "  0-1     backward      8          4         4   1.00\n"
                         "  0-1    optimizer      4          3         3   1.00\n"
                         "  0-1     exchange      4          1         2   2.00\n"
                         "  0-1         wait      8          1         2   2.00\n"
                         "  0-1         step      4         16      1000  62.50\n"
                         "  2-3      forward "));
  auto const text = compare_json(small.plan, c, small.machine);
  auto const root = parse_json(text, "json");
  JsonView const json(root, "json");
  CHECK(json["ranks_of_a_place"].count() == 2);
  CHECK(json["steps"].array().size() == 2);
  JsonView const place(json["places"].array()[1], "place");
  CHECK(place["rank"].count() == 2);
  CHECK_FALSE(place["means"].has("weight gradient"));
  CHECK(place["means"]["backward"]["measured"].number() == doctest::Approx(2e-3));
  CHECK(place["means"]["exchange"]["ratio"].number() == doctest::Approx(2));
}

TEST_CASE(
    "the trace of a plan has its timeline, with the optimizer at the end, on rows after the ranks'") {
  Small const small;
  auto const text = plan_trace(small.plan, facts);
  auto const root = parse_json(text, "plan");
  JsonView const json(root, "plan");
  std::string seen;
  for (auto const& element : json["traceEvents"].array()) {
    JsonView const e(element, "event");
    if (e["ph"].string() == "M") {
      if (e["name"].string() == "process_name") seen += e["args"]["name"].string() + ": ";
      continue;
    }
    if (e["pid"].count() != 4) continue;
    seen += e["name"].string() + "@" + std::to_string(std::lround(e["ts"].number())) + "+" +
            std::to_string(std::lround(e["dur"].number())) + " ";
  }
  CHECK(seen ==
        "plan of rank 0-1: step@0+16000 F0.0@0+2000 F1.0@2000+2000 B0.0@5000+4000 B1.0@9000+4000 "
        "optimizer@13000+3000 plan of rank 2-3: ");
}
