// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nxd {

/// What a rank did with its time, or what a plan says that it will do. One thread writes it.
class Trace {
 public:
  struct Event {
    std::string_view category;  ///< "forward", "exchange", "optimizer", ...; lives for ever
    std::string name;
    double start, finish;    ///< seconds
    std::int64_t bytes = 0;  ///< that were sent in it, where that is known
  };

  /// Of real time, from now on.
  Trace() : begin_(std::chrono::steady_clock::now()) {}
  /// Of the time that `seconds` shows whenever it is looked at.
  explicit Trace(double const& seconds) : shown_(&seconds) {}

  double now() const {
    if (shown_ != nullptr) return *shown_;
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  }
  void add(Event event) { events_.push_back(std::move(event)); }

  /// In the order in which they ended.
  std::vector<Event> const& events() const { return events_; }
  void clear() { events_.clear(); }

 private:
  std::chrono::steady_clock::time_point begin_{};
  double const* shown_ = nullptr;
  std::vector<Event> events_;
};

/// Writes down what happens while it lives, if there is a trace to write to: one pointer is looked
/// at if there is none.
template <class NameOf> class Traced {
 public:
  /// @param name_of the name of the event, made only where it is written
  Traced(Trace* trace, std::string_view category, NameOf name_of, std::int64_t bytes = 0)
      : trace_(trace), category_(category), name_of_(std::move(name_of)), bytes_(bytes) {
    if (trace_ != nullptr) start_ = trace_->now();
  }
  Traced(Traced const&) = delete;
  Traced& operator=(Traced const&) = delete;
  ~Traced() {
    if (trace_ == nullptr) return;
    auto const finish = trace_->now();
    trace_->add({category_, std::string(name_of_()), start_, finish, bytes_});
  }

 private:
  Trace* trace_;
  std::string_view category_;
  NameOf name_of_;
  std::int64_t bytes_;
  double start_ = 0;
};

}  // namespace nxd
