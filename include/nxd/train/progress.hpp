// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ostream>
#include <string>
#include <string_view>

#include <nxd/train/metrics.hpp>
#include <nxd/train/terminal.hpp>

namespace nxd {

/// How much a line matters.
enum class LogLevel : std::uint8_t { debug, info, warning, error };

/// Prints lines for people, on rank 0 only; errors are printed on every rank, with its number.
class Logger {
 public:
  Logger(std::ostream& out, std::int64_t rank, LogLevel least = LogLevel::info)
      : out_(out), rank_(rank), least_(least) {}

  /// Prints one line, or nothing.
  void log(LogLevel level, std::string_view line) const {
    if (level < least_ || (rank_ != 0 && level != LogLevel::error)) return;
    std::string text;
    if (level == LogLevel::debug) text = "debug: ";
    if (level == LogLevel::warning) text = "warning: ";
    if (level == LogLevel::error) text = "error: ";
    if (rank_ != 0) text += "rank " + std::to_string(rank_) + ": ";
    out_ << text + std::string(line) + "\n" << std::flush;
  }
  void debug(std::string_view line) const { log(LogLevel::debug, line); }
  void info(std::string_view line) const { log(LogLevel::info, line); }
  void warning(std::string_view line) const { log(LogLevel::warning, line); }
  void error(std::string_view line) const { log(LogLevel::error, line); }

 private:
  std::ostream& out_;
  std::int64_t rank_;
  LogLevel least_;
};

/// How progress is shown.
struct ProgressStyle {
  bool bar = false;  ///< one line that is drawn anew; else lines
  int width = 80;    ///< columns of the bar's line
  Charset charset = Charset::ascii;
  std::int64_t every = 1;  ///< steps between lines

  /// A bar where the descriptor leads to a terminal, lines elsewhere.
  /// A bar on a terminal. `NXD_PROGRESS=bar` or `lines` decides where that cannot be seen: under a
  /// launcher that hands its ranks a terminal of its own, whatever its output is.
  static ProgressStyle of(int descriptor, std::int64_t every) {
    char const* const said = std::getenv("NXD_PROGRESS");
    bool const launched = std::getenv("OMPI_COMM_WORLD_RANK") != nullptr;
    bool const bar =
        said != nullptr ? std::string_view(said) == "bar" : is_terminal(descriptor) && !launched;
    return {bar, terminal_width(descriptor), environment_charset(), every};
  }
};

namespace detail {

inline std::string formatted(char const* format, double value) {
  std::array<char, 64> buffer{};
  std::snprintf(buffer.data(), buffer.size(), format, value);
  return buffer.data();
}

/// 950, 12.3k, 4.5M.
inline std::string in_thousands(double value) {
  if (value >= 1e9) return formatted("%.1fG", value / 1e9);
  if (value >= 1e6) return formatted("%.1fM", value / 1e6);
  if (value >= 1e4) return formatted("%.1fk", value / 1e3);
  return formatted("%.0f", value);
}

/// 1 rank, 2 ranks.
inline std::string counted(std::int64_t n, std::string const& one, std::string const& many) {
  return std::to_string(n) + " " + (n == 1 ? one : many);
}

/// 0:42, 12:05, 3:12:05, 2d 03:12.
inline std::string as_duration(double seconds) {
  if (!(seconds >= 0) || seconds > 1e9) return "?";
  auto const s = static_cast<std::int64_t>(std::llround(seconds));
  std::array<char, 64> out{};
  if (s < 3600)
    std::snprintf(out.data(), out.size(), "%d:%02d", static_cast<int>(s / 60),
                  static_cast<int>(s % 60));
  else if (s < 86400)
    std::snprintf(out.data(), out.size(), "%d:%02d:%02d", static_cast<int>(s / 3600),
                  static_cast<int>(s / 60 % 60), static_cast<int>(s % 60));
  else
    std::snprintf(out.data(), out.size(), "%dd %02d:%02d", static_cast<int>(s / 86400),
                  static_cast<int>(s / 3600 % 24), static_cast<int>(s / 60 % 60));
  return out.data();
}

}  // namespace detail

/// Shows how far a run has come: a bar on a terminal, lines elsewhere, nothing on ranks but 0.
class Progress {
 public:
  Progress(std::ostream& out, std::int64_t rank, ProgressStyle style, std::int64_t steps)
      : out_(out), rank_(rank), style_(style), steps_(steps) {}

  /// Shows a finished step. The remaining time goes by the recent steps' times.
  void update(StepMetrics const& m) {
    mean_ms_ = mean_ms_ > 0 ? 0.9 * mean_ms_ + 0.1 * m.step_ms : m.step_ms;
    if (rank_ != 0) return;
    if (style_.bar)
      draw(m);
    else if (m.step % style_.every == 0 || m.step == steps_ || m.val_loss)
      out_ << line(m) + "\n" << std::flush;
  }

  /// Prints a line above the bar.
  void note(std::string_view text) {
    if (rank_ != 0) return;
    clear();
    out_ << std::string(text) + "\n" << std::flush;
  }

  /// Ends the bar's line.
  void finish() {
    if (rank_ == 0 && drawn_ > 0) out_ << "\n" << std::flush;
    drawn_ = 0;
  }

 private:
  std::string counts(StepMetrics const& m) const {
    return "step " + std::to_string(m.step) + "/" + std::to_string(steps_);
  }

  std::string facts(StepMetrics const& m) const {
    auto const left = static_cast<double>(std::max<std::int64_t>(0, steps_ - m.step));
    auto out = "loss " + detail::formatted("%.4f", m.loss);
    if (m.val_loss) out += "  val " + detail::formatted("%.4f", *m.val_loss);
    return out + "  " + detail::in_thousands(m.tokens_per_s) + " tokens/s  ETA " +
           detail::as_duration(left * mean_ms_ / 1000);
  }

  std::string line(StepMetrics const& m) const {
    return counts(m) + "  " + facts(m) + "  lr " + detail::formatted("%.3g", m.lr) +
           "  grad_norm " + detail::formatted("%.3g", m.grad_norm) + "  " +
           detail::formatted("%.1f ms", m.step_ms);
  }

  void draw(StepMetrics const& m) {
    if (m.val_loss) note(line(m));
    auto const left = counts(m) + " ";
    auto const right = " " + facts(m);
    auto const used = static_cast<int>(left.size() + right.size()) + 3;
    auto const cells = std::clamp(style_.width - used, 0, 40);
    double const done = steps_ > 0 ? static_cast<double>(m.step) / static_cast<double>(steps_) : 1;
    auto const full = std::clamp(static_cast<int>(done * cells), 0, cells);
    std::string bar;
    for (int i = 0; i < cells; ++i)
      bar += style_.charset == Charset::unicode ? (i < full ? "█" : "░") : (i < full ? "#" : "-");
    auto text = cells >= 4 ? left + "[" + bar + "]" + right : left + right;
    if (cells < 4) text = text.substr(0, static_cast<std::size_t>(std::max(1, style_.width - 1)));
    auto const now = detail::columns(text);
    out_ << "\r" + text + std::string(drawn_ > now ? drawn_ - now : 0, ' ') << std::flush;
    drawn_ = now;
  }

  void clear() {
    if (drawn_ > 0) out_ << "\r" + std::string(drawn_, ' ') + "\r";
    drawn_ = 0;
  }

  std::ostream& out_;
  std::int64_t rank_;
  ProgressStyle style_;
  std::int64_t steps_;
  double mean_ms_ = 0;
  std::size_t drawn_ = 0;
};

}  // namespace nxd
