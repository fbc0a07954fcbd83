// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include <nxd/pipeline/report.hpp>
#include <nxd/plan/report.hpp>
#include <nxd/plan/step_plan.hpp>
#include <nxd/train/measured_step.hpp>

namespace nxd {

/// Times of one activity: of each action, and of all the exchanges, all the waits of a step.
struct Compared {
  double predicted = 0;    ///< seconds, on average
  double measured = 0;     ///< seconds, on average
  std::int64_t times = 0;  ///< measured so often
  double ratio() const { return predicted > 0 ? measured / predicted : 0; }
};

/// Of one place along the pipeline.
using PlaceComparison = std::array<Compared, activities>;

namespace detail {

/// The seconds that a rank's exchanges take, but for messages under way.
inline double exchange_seconds(RankPlan const& r, Machine const& machine) {
  double seconds = 0;
  for (auto const& [sort, t] : r.cost.traffic) {
    if (sort.exchange == Exchange::send || sort.exchange == Exchange::receive) continue;
    auto const stride = std::max<std::int64_t>(sort.stride, 1);
    auto const place = r.rank / stride % sort.count;
    Line const line{r.rank - place * stride, stride, sort.count, place};
    seconds += machine.of(Call{sort.exchange, line, t.messages, t.bytes});
  }
  return seconds;
}

inline PlaceComparison predicted(StepPlan const& plan, std::size_t place, Machine const& machine) {
  PlaceComparison all{};
  std::array<double, activities> times{};
  auto const at = [&](Activity a) -> double& { return all[static_cast<std::size_t>(a)].predicted; };
  auto const& r = plan.places[place];
  double busy = 0;
  for (std::size_t i = 0; i < r.seconds.size(); ++i) {
    auto const kind = static_cast<std::size_t>(plan.schedule.actions[place][i].kind);
    all[kind].predicted += r.seconds[i];
    times[kind] += 1;
    busy += r.seconds[i];
  }
  for (std::size_t i = 0; i < activities; ++i)
    if (times[i] > 0) all[i].predicted /= times[i];
  at(Activity::optimizer) = r.optimizer_seconds;
  at(Activity::exchange) = exchange_seconds(r, machine);
  at(Activity::wait) = std::max(0.0, plan.timeline.finish[place].back() - busy);
  at(Activity::step) = plan.seconds;
  return all;
}

/// @throws ConfigError naming the first fact in which the run is not the one that is planned
inline void check_facts(TraceFacts const& run, TraceFacts const& plan, std::string const& file) {
  for (auto const& [name, value] : plan) {
    auto const found = run.find(name);
    if (found == run.end()) throw CorruptInput(file + ": does not say " + name);
    if (found->second != value)
      throw ConfigError(file + ": is of a run with " + name + " " + found->second +
                        ", but the plan has " + value + "; plan what was run");
  }
}

}  // namespace detail

/// Predicted and measured times, once the traces of all ranks have been added.
class Comparison {
 public:
  /// @param facts what a run must have in common with the plan; see `TraceFacts`. The plan outlives
  /// it
  Comparison(StepPlan const& plan, Machine const& machine, TraceFacts facts)
      : plan_(plan), facts_(std::move(facts)), sums_(plan.places.size()) {
    for (std::size_t i = 0; i < plan.places.size(); ++i)
      places_.push_back(detail::predicted(plan, i, machine));
  }

  /// The trace of one rank; ranks come in their order. The first of several steps is left out:
  /// memory is asked for in it. @throws ConfigError if it is of another run, CorruptInput if it is
  /// of none
  void add(RankTrace const& trace, std::string const& file) {
    detail::check_facts(trace.facts, facts_, file);
    auto const place = static_cast<std::size_t>(trace.rank / plan_.ranks_of_place());
    auto const all = measured_steps(trace, file);
    std::vector<std::string> names;
    for (auto const& step : all) names.push_back(step.name);
    check_run(trace, names, file);
    auto const& actions = plan_.schedule.actions[place];
    for (std::size_t s = 0; s < all.size(); ++s) {
      auto const& done = all[s].actions;
      for (std::size_t i = 0; i < std::max(done.size(), actions.size()); ++i) {
        auto const planned = i < actions.size() ? text(actions[i]) : std::string("nothing");
        if (auto const& was = i < done.size() ? done[i] : std::string("nothing"); was != planned)
          throw ConfigError(file + ": " + all[s].name + " does " + was + " where the plan does " +
                            planned + "; plan what was run");
      }
      if (s > 0 || all.size() == 1) take(all[s], place);
    }
  }

  /// Of each place along the pipeline, over its ranks.
  std::vector<PlaceComparison> const& places() const { return places_; }
  /// Names of the steps that count.
  std::vector<std::string> const& steps() const { return steps_; }

 private:
  struct Sums {
    std::int64_t steps = 0;
    std::array<double, activities> seconds{};
    std::array<std::int64_t, activities> times{};
  };

  /// Traces are of one run: that of rank 0.
  void check_run(RankTrace const& trace, std::vector<std::string> names, std::string const& file) {
    if (names.empty()) throw CorruptInput(file + ": has no step");
    auto const began = trace.facts.find("began");
    auto const run = began == trace.facts.end() ? "" : began->second;
    if (names.size() > 1) names.erase(names.begin());
    if (steps_.empty())
      run_ = run, steps_ = std::move(names);
    else if (run != run_ || names != steps_)
      throw CorruptInput(file + ": is of another run than the trace of rank 0");
  }

  void take(MeasuredStep const& step, std::size_t place) {
    auto& sums = sums_[place];
    ++sums.steps;
    for (std::size_t i = 0; i < activities; ++i) {
      sums.seconds[i] += step.seconds[i];
      sums.times[i] += step.times[i];
      auto& to = places_[place][i];
      to.times = sums.times[i];
      // Exchanges and waits are many, and of all lengths: those of a step are one.
      bool const whole = i == static_cast<std::size_t>(Activity::exchange) ||
                         i == static_cast<std::size_t>(Activity::wait);
      auto const n = whole ? sums.steps : sums.times[i];
      to.measured = n > 0 ? sums.seconds[i] / static_cast<double>(n) : 0;
    }
  }

  StepPlan const& plan_;
  TraceFacts facts_;
  std::vector<Sums> sums_;
  std::vector<PlaceComparison> places_;
  std::vector<std::string> steps_;
  std::string run_;
};

namespace detail {

/// Neither foretold nor measured.
inline bool is_nothing(Compared const& c) { return c.predicted == 0 && c.times == 0; }

}  // namespace detail

/// The comparison as a table; times in milliseconds. @param title what is compared, in one line
inline std::string compare_text(StepPlan const& plan, Comparison const& comparison,
                                Machine const& machine, std::string const& title) {
  using detail::formatted;
  auto const& steps = comparison.steps();
  auto out = title + "\nmeans    of " + steps.front() +
             (steps.size() > 1 ? " to " + steps.back() : "") + ", ms  (" + machine.source + ")\n";
  std::vector<std::vector<std::string>> table{
      {"ranks", "what", "times", "predicted", "measured", "ratio"}};
  for (std::size_t place = 0; place < plan.places.size(); ++place)
    for (std::size_t i = 0; i < activities; ++i) {
      auto const& c = comparison.places()[place][i];
      if (detail::is_nothing(c)) continue;
      table.push_back({detail::ranks_text(plan, place), std::string(names_of(Activity{})[i]),
                       std::to_string(c.times), formatted("%.4g", 1e3 * c.predicted),
                       formatted("%.4g", 1e3 * c.measured),
                       c.predicted > 0 ? formatted("%.2f", c.ratio()) : "-"});
    }
  return out + detail::indented(table);
}

/// The comparison as JSON; times in seconds.
inline std::string compare_json(StepPlan const& plan, Comparison const& comparison,
                                Machine const& machine) {
  Json::Array places, steps;
  for (auto const& name : comparison.steps()) steps.emplace_back(name);
  for (std::size_t place = 0; place < plan.places.size(); ++place) {
    Json::Object kinds;
    for (std::size_t i = 0; i < activities; ++i) {
      auto const& c = comparison.places()[place][i];
      if (detail::is_nothing(c)) continue;
      Json::Object kind{{"times", c.times}, {"predicted", c.predicted}, {"measured", c.measured}};
      if (c.predicted > 0) kind["ratio"] = c.ratio();
      kinds[std::string(names_of(Activity{})[i])] = kind;
    }
    places.push_back(Json::Object{{"rank", plan.places[place].rank}, {"means", kinds}});
  }
  return to_text(Json(Json::Object{{"ranks", plan.ranks},
                                   {"ranks_of_a_place", plan.ranks_of_place()},
                                   {"steps", steps},
                                   {"machine", machine.source},
                                   {"places", places}})) +
         "\n";
}

}  // namespace nxd
