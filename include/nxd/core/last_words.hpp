// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cstdint>
#include <string>
#include <string_view>

#include <nxd/core/fixed_text.hpp>
#include <nxd/core/whereabouts.hpp>

namespace nxd {

/// What a process leaves behind when it ends: one line on standard error, and `exit.json` in the
/// folder of its run, since launchers do not always hand on an exit code. A signal handler may
/// write both.
class LastWords {
 public:
  void rank(std::int64_t rank) { rank_ = rank; }
  std::int64_t rank() const { return rank_; }

  /// From now on there will be an `exit.json`, in this folder, which has none yet.
  void folder(std::string const& path) {
    file_ = {};
    file_ << path << "/exit.json";
  }

  /// "nxd: rank 1 at step 12, F3: WHAT". What the first rank says before its first step needs
  /// neither.
  void line(std::string_view what) const {
    FixedText<2048> text;
    text << "nxd: ";
    bool const named = rank_ > 0 || this_process().step() >= 0;
    auto const* const at = this_process().text();
    if (named) text << "rank " << rank_;
    if (named && *at != 0) text << " at " << at;
    if (named) text << ": ";
    text << what << "\n";
    write_all(2, text.view());
  }

  /// Writes `exit.json`, unless another rank of the job has: the first one knows the reason.
  void note(int code, std::string_view reason) const {
    if (file_.empty()) return;
    int const to = ::open(file_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (to < 0) return;
    FixedText<4096> json;
    json << "{\"code\": " << code << ", \"reason\": \"";
    add_escaped(json, reason);
    json << "\", \"rank\": " << rank_ << ", \"step\": ";
    if (auto const step = this_process().step(); step >= 0)
      json << step;
    else
      json << "null";
    json << ", \"at\": \"";
    add_escaped(json, this_process().text());
    json << "\"}\n";
    write_all(to, json.view());
    ::close(to);
  }

  static void write_all(int to, std::string_view text) {
    while (!text.empty()) {
      auto const n = ::write(to, text.data(), text.size());
      if (n <= 0) return;
      text.remove_prefix(static_cast<std::size_t>(n));
    }
  }

 private:
  template <std::size_t N> static void add_escaped(FixedText<N>& json, std::string_view text) {
    for (char const c : text.substr(0, 1500)) {
      if (c == '"' || c == '\\') json << "\\";
      json << std::string_view(static_cast<unsigned char>(c) < 0x20 ? " " : &c, 1);
    }
  }

  std::int64_t rank_ = 0;
  FixedText<1024> file_;
};

/// Those of this process.
inline LastWords& last_words() {
  static LastWords words;
  return words;
}

}  // namespace nxd
