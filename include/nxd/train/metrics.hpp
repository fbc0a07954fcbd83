// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <charconv>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <nxd/core/error.hpp>
#include <nxd/train/shortest.hpp>

namespace nxd {

/// What one optimizer step left behind.
struct StepMetrics {
  std::int64_t step = 0;  ///< the first is 1: steps done
  double loss = 0;
  double grad_norm = 0;
  double lr = 0;
  std::int64_t tokens = 0;  ///< trained on so far, all ranks
  double tokens_per_s = 0;  ///< of this step, all ranks
  double step_ms = 0;
  std::optional<std::int64_t>
      peak_bytes;  ///< memory in use at once, at most, on the rank that writes
  std::optional<std::int64_t> sent_bytes;  ///< by that rank
  std::optional<double> val_loss;          ///< only where this step was validated
};

namespace detail {

inline std::string json_number(double value) {
  return std::isfinite(value) ? shortest(value) : "null";
}

/// Takes `"name":number` or `"name":null` off the front, with the comma after it.
inline bool take_member(std::string_view& line, std::string_view name, double& value) {
  auto const start = "\"" + std::string(name) + "\":";
  if (!line.starts_with(start)) return false;
  line.remove_prefix(start.size());
  if (line.starts_with("null")) {
    value = std::numeric_limits<double>::quiet_NaN();
    line.remove_prefix(4);
  } else {
    auto const read = std::from_chars(line.data(), line.data() + line.size(), value);
    if (read.ec != std::errc{}) return false;
    line.remove_prefix(static_cast<std::size_t>(read.ptr - line.data()));
  }
  if (line.starts_with(',')) line.remove_prefix(1);
  return true;
}

}  // namespace detail

/// One line of `metrics.jsonl`. Numbers read back exactly; one that is not finite is `null`, and
/// the line then says `"non_finite":true`.
inline std::string to_json(StepMetrics const& m) {
  std::string out =
      "{\"step\":" + std::to_string(m.step) + ",\"loss\":" + detail::json_number(m.loss) +
      ",\"grad_norm\":" + detail::json_number(m.grad_norm) +
      ",\"lr\":" + detail::json_number(m.lr) + ",\"tokens\":" + std::to_string(m.tokens) +
      ",\"tokens_per_s\":" + detail::json_number(m.tokens_per_s) +
      ",\"step_ms\":" + detail::json_number(m.step_ms);
  if (m.peak_bytes) out += ",\"peak_bytes\":" + std::to_string(*m.peak_bytes);
  if (m.sent_bytes) out += ",\"sent_bytes\":" + std::to_string(*m.sent_bytes);
  if (m.val_loss) out += ",\"val_loss\":" + detail::json_number(*m.val_loss);
  bool const finite = std::isfinite(m.loss) && std::isfinite(m.grad_norm) && std::isfinite(m.lr) &&
                      std::isfinite(m.tokens_per_s) && std::isfinite(m.step_ms) &&
                      std::isfinite(m.val_loss.value_or(0));
  return out + (finite ? "}" : ",\"non_finite\":true}");
}

/// Reads a line that `to_json` wrote; nothing where it is torn or of another kind.
inline std::optional<StepMetrics> parse_metrics(std::string_view line) {
  StepMetrics m;
  double step = 0;
  double tokens = 0;
  double val_loss = 0;
  double bytes = 0;
  auto const countable = [](double x) { return std::abs(x) < 9e15; };
  if (!line.starts_with('{') || !line.ends_with('}')) return std::nullopt;
  line = line.substr(1, line.size() - 2);
  if (!detail::take_member(line, "step", step) || !detail::take_member(line, "loss", m.loss) ||
      !detail::take_member(line, "grad_norm", m.grad_norm) ||
      !detail::take_member(line, "lr", m.lr) || !detail::take_member(line, "tokens", tokens) ||
      !detail::take_member(line, "tokens_per_s", m.tokens_per_s) ||
      !detail::take_member(line, "step_ms", m.step_ms))
    return std::nullopt;
  for (auto const& [name, field] :
       {std::pair{"peak_bytes", &m.peak_bytes}, std::pair{"sent_bytes", &m.sent_bytes}}) {
    if (!detail::take_member(line, name, bytes)) continue;
    if (!countable(bytes)) return std::nullopt;
    *field = static_cast<std::int64_t>(bytes);
  }
  if (detail::take_member(line, "val_loss", val_loss)) m.val_loss = val_loss;
  if (!line.empty() && line != "\"non_finite\":true") return std::nullopt;
  if (!countable(step) || !countable(tokens)) return std::nullopt;
  m.step = static_cast<std::int64_t>(step);
  m.tokens = static_cast<std::int64_t>(tokens);
  return m;
}

/// All steps of a `metrics.jsonl`, in the order of the file; a torn last line is left out.
/// @throws IoError where the file cannot be read, CorruptInput where another line is not a step
inline std::vector<StepMetrics> read_metrics(std::filesystem::path const& path) {
  std::ifstream file(path);
  if (!file) throw IoError(path.string() + ": the metrics cannot be read; check the path");
  std::vector<StepMetrics> steps;
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    if (auto const step = parse_metrics(line))
      steps.push_back(*step);
    else if (!file.eof())
      throw CorruptInput(path.string() + ":" + std::to_string(number) +
                         ": this line is not the metrics of a step; remove it");
  }
  return steps;
}

/// Appends one line a step to `<folder>/metrics.jsonl`. One rank of a job has one.
class MetricsWriter {
 public:
  /// Goes on after `last_step`, the step of the checkpoint: lines of later steps, and one that is
  /// torn, are cut first. A run that starts anew (0) sets an earlier file aside as
  /// `metrics.1.jsonl`, `metrics.2.jsonl`, ...
  /// @throws IoError
  MetricsWriter(std::filesystem::path const& folder, std::int64_t last_step)
      : path_(folder / "metrics.jsonl") {
    try {
      std::filesystem::create_directories(folder);
      if (std::filesystem::is_regular_file(path_))
        last_step > 0 ? cut_after(last_step) : set_aside();
    } catch (std::filesystem::filesystem_error const& error) {
      throw IoError(path_.string() + ": " + error.code().message());
    }
    file_.open(path_, std::ios::app | std::ios::binary);
    if (!file_) fail();
  }

  /// Writes a line, and hands it to the system.
  /// @throws IoError where the disk does not take it
  void write(StepMetrics const& metrics) {
    file_ << to_json(metrics) + "\n";
    file_.flush();
    if (!file_) fail();
  }

  std::filesystem::path const& path() const { return path_; }

 private:
  [[noreturn]] void fail() const {
    throw IoError(path_.string() + ": the metrics cannot be written; check the disk and the path");
  }

  void cut_after(std::int64_t last_step) const {
    std::ifstream file(path_, std::ios::binary);
    std::string line;
    std::uintmax_t keep = 0;
    while (std::getline(file, line) && !file.eof()) {
      auto const step = parse_metrics(line);
      if (!step || step->step > last_step) break;
      keep += line.size() + 1;
    }
    file.close();
    std::filesystem::resize_file(path_, keep);
  }

  void set_aside() const {
    if (std::filesystem::file_size(path_) == 0) return;
    for (int n = 1;; ++n) {
      auto const aside = path_.parent_path() / ("metrics." + std::to_string(n) + ".jsonl");
      if (std::filesystem::exists(aside)) continue;
      std::filesystem::rename(path_, aside);
      return;
    }
  }

  std::filesystem::path path_;
  std::ofstream file_;
};

}  // namespace nxd
