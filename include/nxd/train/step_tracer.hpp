// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <charconv>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>

#include <nxd/comm/common_moment.hpp>
#include <nxd/core/error.hpp>
#include <nxd/core/file_text.hpp>
#include <nxd/train/trace_text.hpp>

namespace nxd {

/// The steps of a run that are traced, first and last. A trace of all would grow without bound.
struct StepWindow {
  static constexpr std::int64_t usual = 5;  ///< so many, if nobody says which

  std::int64_t first = 1, last = usual;
  bool operator==(StepWindow const&) const = default;
};

/// Reads `FIRST:LAST`. @throws ConfigError
inline StepWindow parse_window(std::string_view text) {
  StepWindow window;
  auto const* const end = text.data() + text.size();
  auto const first = std::from_chars(text.data(), end, window.first);
  bool right = first.ec == std::errc{} && first.ptr != end && *first.ptr == ':';
  if (right) {
    auto const last = std::from_chars(first.ptr + 1, end, window.last);
    right = last.ec == std::errc{} && last.ptr == end;
  }
  if (!right || window.first < 1 || window.last < window.first)
    throw ConfigError("--trace-steps is \"" + std::string(text) +
                      "\"; write the first and the last step that are to be traced, such as 10:14");
  return window;
}

/// The file of a rank in a folder of traces.
inline std::string trace_file(std::string const& folder, std::int64_t rank) {
  auto number = std::to_string(rank);
  if (number.size() < 5) number.insert(0, 5 - number.size(), '0');
  return (std::filesystem::path(folder) / ("rank-" + number + ".json")).string();
}

/// Reads what a run has left in a folder. @throws IoError, CorruptInput
inline RankTrace read_trace(std::string const& folder, std::int64_t rank) {
  auto const path = trace_file(folder, rank);
  if (!std::filesystem::exists(path))
    throw IoError(path + ": cannot be read; nxd train CONFIG --trace " + folder + " writes it");
  auto trace = parse_trace(read_file_text(path, JsonLimits{}.bytes), path);
  if (trace.rank != rank)
    throw CorruptInput(path + ": is of rank " + std::to_string(trace.rank) + ", not of rank " +
                       std::to_string(rank));
  return trace;
}

/// A file that one rank's trace goes to.
class TraceFile {
 public:
  /// Makes the folder, and sees to it that the file can be written; what is in it stays for now.
  /// @throws IoError
  TraceFile(std::string const& folder, std::int64_t rank) : path_(trace_file(folder, rank)) {
    std::error_code reason;
    std::filesystem::create_directories(folder, reason);
    if (reason) throw IoError(folder + ": the traces cannot be written there: " + reason.message());
    put("", std::ios::app);
  }

  /// @throws IoError
  void write(std::string_view text) const { put(text, std::ios::trunc); }

 private:
  void put(std::string_view text, std::ios::openmode how) const {
    std::ofstream file(path_, std::ios::binary | how);
    file << text;
    file.close();
    if (!file)
      throw IoError(path_ + ": the trace cannot be written; name another folder, or make room");
  }

  std::string path_;
};

/// Traces some steps of a run on one rank of a world whose exchanges are recorded, and then writes
/// the file. Times count from a moment that the ranks agree on; see `common_moment`.
template <class World> class StepTracer {
 public:
  StepTracer(World& world, TraceFile file, StepWindow window, TraceFacts facts)
      : world_(world), file_(std::move(file)), window_(window), facts_(std::move(facts)) {}
  StepTracer(StepTracer const&) = delete;
  StepTracer& operator=(StepTracer const&) = delete;
  ~StepTracer() { write_to(nullptr); }

  /// Before step `step`; all ranks call it before each of them. @throws IoError
  void before(std::int64_t step) {
    if (step > window_.last) return finish();
    if (step < window_.first || trace_) return;
    file_.write("");  // a run that is cut off leaves no trace of an earlier one
    trace_.emplace();
    auto& comm = world_.comm.inner();
    origin_ = common_moment(comm, [&] { return trace_->now(); });
    using Clock = std::chrono::system_clock;
    std::int64_t began = Clock::now().time_since_epoch() / std::chrono::microseconds(1);
    comm.broadcast({0, 1, comm.size(), comm.rank()}, 0, std::span(&began, 1));
    facts_["began"] = std::to_string(began);
    write_to(&*trace_);
  }

  /// After the last step: writes what there is, once. @throws IoError
  void finish() {
    if (!trace_) return;
    write_to(nullptr);
    RankTrace const mine{world_.rank(), "rank " + std::to_string(world_.rank()), trace_->events()};
    trace_.reset();
    file_.write(trace_text(std::span(&mine, 1), facts_, origin_));
  }

 private:
  void write_to(Trace* trace) {
    world_.trace = trace;
    world_.comm.write_to(trace);
  }

  World& world_;
  TraceFile file_;
  StepWindow window_;
  TraceFacts facts_;
  std::optional<Trace> trace_;
  double origin_ = 0;
};

}  // namespace nxd
