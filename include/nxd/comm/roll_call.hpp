// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <vector>

#include <nxd/comm/absence.hpp>
#include <nxd/comm/attendance.hpp>
#include <nxd/comm/communicator.hpp>
#include <nxd/core/interrupt.hpp>
#include <nxd/core/last_words.hpp>

namespace nxd {

namespace detail {

/// Memory that processes of a node share, by a name that the first of them makes and removes again
/// as soon as all have come. Where there is none, each process has its own.
class SharedSheets {
 public:
  explicit SharedSheets(std::size_t count) : count_(count) {}
  SharedSheets(SharedSheets const&) = delete;
  SharedSheets& operator=(SharedSheets const&) = delete;
  ~SharedSheets() {
    if (memory_ != nullptr) ::munmap(memory_, bytes());
  }

  /// @return whether it could
  bool open(std::string const& name, bool make) {
    auto const how = make ? O_RDWR | O_CREAT | O_EXCL : O_RDWR;
    int const file = ::shm_open(name.c_str(), how | O_CLOEXEC, 0600);
    if (file < 0) return false;
    bool const room = !make || ::posix_fallocate(file, 0, static_cast<off_t>(bytes())) == 0;
    if (room) map(MAP_SHARED, file);
    ::close(file);
    return memory_ != nullptr;
  }
  /// Room for one.
  void open_alone() {
    if (memory_ != nullptr) ::munmap(memory_, bytes());
    count_ = 1;
    map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
    if (memory_ == nullptr) throw std::bad_alloc();
  }

  Sheet* begin() const { return static_cast<Sheet*>(memory_); }

 private:
  std::size_t bytes() const { return count_ * sizeof(Sheet); }
  void map(int flags, int file) {
    auto* const at = ::mmap(nullptr, bytes(), PROT_READ | PROT_WRITE, flags, file, 0);
    memory_ = at == MAP_FAILED ? nullptr : at;
  }

  std::size_t count_;
  void* memory_ = nullptr;
};

}  // namespace detail

/// The ranks of this node, and a sheet for each in memory that all of them see: one that hangs, or
/// is gone, is asked no questions. This rank's whereabouts are written there while it lives. One
/// per process.
class RollCall {
 public:
  /// All ranks of the job make one together. A communicator that does not know its nodes has each
  /// rank on its own. Cost: two small all-gathers, and 68 KB a rank of the node.
  template <Communicator C>
  explicit RollCall(C& comm)
      : ranks_(node_of(comm)), sheets_(ranks_.size()), size_(comm.size()), rank_(comm.rank()) {
    using Name = std::array<char, 64>;
    Line const everyone{0, 1, comm.size(), comm.rank()};
    bool const first = ranks_.front() == comm.rank();
    std::vector<Name> const mine{first ? fresh_name() : Name{}};
    std::vector<Name> names(static_cast<std::size_t>(comm.size()));
    bool const made = first && sheets_.open(mine[0].data(), true);
    comm.all_gather(everyone, std::as_bytes(std::span(mine)),
                    std::as_writable_bytes(std::span(names)));
    auto const& name = names[static_cast<std::size_t>(ranks_.front())];
    std::vector<std::int32_t> const could{first ? made : sheets_.open(name.data(), false)};
    std::vector<std::int32_t> all(names.size());
    comm.all_gather(everyone, std::span<std::int32_t const>(could), std::span<std::int32_t>(all));
    if (first) ::shm_unlink(name.data());
    shared_ = std::ranges::all_of(
        ranks_, [&](std::int64_t r) { return all[static_cast<std::size_t>(r)] != 0; });
    if (!shared_) {
      ranks_ = {comm.rank()};
      sheets_.open_alone();
    }
    place_ = std::ranges::find(ranks_, comm.rank()) - ranks_.begin();
    mine_ = new (sheets_.begin() + place_) Sheet;
    mine_->pid.store(::getpid());
    this_process().move_to(mine_->spot);
    the_one() = this;
    Interrupt::on_sigterm().store(&tell_of_the_dead);
  }
  RollCall(RollCall const&) = delete;
  RollCall& operator=(RollCall const&) = delete;
  ~RollCall() {
    Interrupt::on_sigterm().store(nullptr);
    the_one() = nullptr;
    this_process().move_home();
  }

  Sheet& mine() const { return *mine_; }
  Sheet& sheet(std::size_t place) const { return sheets_.begin()[place]; }
  Sheet& first_sheet() const { return sheet(0); }
  std::int64_t rank() const { return rank_; }
  std::vector<std::int64_t> const& ranks() const { return ranks_; }
  /// Of the job.
  std::int64_t size() const { return size_; }
  bool whole_job() const { return std::ssize(ranks_) == size_; }

  /// Where ranks of this node, if this process has a roll call, have come to different exchanges;
  /// empty if it cannot be seen.
  static std::string difference() {
    auto* const roll = the_one();
    if (roll == nullptr) return {};
    auto const found = find_difference(roll->look(roll->pulses()));
    return found ? found->sentence : std::string();
  }

  /// What is known of the ranks of this node. @param pulses what their pulses were a while ago
  std::vector<Presence> look(std::span<std::int64_t const> pulses) const {
    std::vector<Presence> all;
    for (std::size_t i = 0; i < ranks_.size(); ++i) all.push_back(look_at(i, pulses[i]));
    return all;
  }
  std::vector<std::int64_t> pulses() const {
    std::vector<std::int64_t> all;
    for (std::size_t i = 0; i < ranks_.size(); ++i) all.push_back(sheet(i).pulse.load());
    return all;
  }

 private:
  template <class C> static std::vector<std::int64_t> node_of(C& comm) {
    if constexpr (requires { comm.same_node(); })
      return comm.same_node();
    else
      return {comm.rank()};
  }

  static std::array<char, 64> fresh_name() {
    std::array<char, 64> name{};
    auto const now = std::chrono::steady_clock::now().time_since_epoch().count();
    auto const text = "/nxd-" + std::to_string(::getpid()) + "-" + std::to_string(now);
    std::ranges::copy(text.substr(0, name.size() - 1), name.begin());
    return name;
  }

  Presence look_at(std::size_t i, std::int64_t pulse) const {
    auto const& sheet = this->sheet(i);
    Presence p;
    p.rank = ranks_[i];
    auto const pid = sheet.pid.load();
    if (pid == 0) return p;
    p.state = is_gone(pid)                  ? Presence::State::gone
              : sheet.pulse.load() == pulse ? Presence::State::stopped
                                            : Presence::State::running;
    p.inside = sheet.inside.load(std::memory_order_acquire) != 0;
    p.present = sheet.present.load();
    p.at = Whereabouts::text_of(sheet.spot);
    p.past = Attendance::past_of(sheet);
    return p;
  }
  static bool is_gone(std::int64_t pid) {
    return ::kill(static_cast<pid_t>(pid), 0) != 0 && errno == ESRCH;
  }

  static RollCall*& the_one() {
    static RollCall* one = nullptr;
    return one;
  }

  /// Launchers end a job with a dead rank by SIGTERM to the others: one of them says which rank is
  /// gone, and where it was last. Async-safe.
  static void tell_of_the_dead() {
    auto* const roll = the_one();
    if (roll == nullptr || !roll->shared_) return;
    for (std::size_t i = 0; i < roll->ranks_.size(); ++i) {
      auto const& sheet = roll->sheet(i);
      if (sheet.pid.load() == 0 || !is_gone(sheet.pid.load())) continue;
      if (roll->first_sheet().told.exchange(1) != 0) return;
      FixedText<512> text;
      text << "rank " << roll->ranks_[i] << " is gone; it was at "
           << Whereabouts::text_of(sheet.spot);
      last_words().line(text.view());
      last_words().note(static_cast<int>(ExitCode::internal), text.view());
      return;
    }
  }

  std::vector<std::int64_t> ranks_;
  detail::SharedSheets sheets_;
  std::int64_t size_, rank_;
  bool shared_ = false;
  std::ptrdiff_t place_ = 0;
  Sheet* mine_ = nullptr;
};

}  // namespace nxd
