// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <future>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include <pthread.h>
#include <signal.h>

#include <nxd/checkpoint/save.hpp>
#include <nxd/comm/reduce.hpp>

namespace nxd {

namespace detail {

/// For a thread that works beside those that train: they come first, and signals come to them.
inline void stay_in_background() {
  sigset_t all;
  sigfillset(&all);
  for (int const fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) sigdelset(&all, fault);
  pthread_sigmask(SIG_SETMASK, &all, nullptr);
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), 10);
}

}  // namespace detail

/// How a save has ended, the same on all ranks.
struct SaveEnd {
  std::int64_t step = 0;
  std::optional<SaveResult> saved;  ///< nothing: it failed, and left nothing
  std::string failure;              ///< why
  std::string afterwards_failed;    ///< why what was to be done afterwards was not
  double seconds = 0;               ///< since it began
};

/// A save that goes on while training does, one at a time. All ranks begin it, and then meet at
/// each step boundary, in `poll`, until it has ended. What takes long a thread of each rank does,
/// which makes no call of MPI; ranks speak to each other only in `begin`, `poll` and `wait`. In the
/// meantime nothing else uses the storage. At its end it makes its thread stop, and waits for that.
template <Storage S> class AsyncSave {
  using Clock = std::chrono::steady_clock;

 public:
  explicit AsyncSave(S& storage, SaveOptions options = {}) : storage_(storage), options_(options) {}
  AsyncSave(AsyncSave const&) = delete;
  AsyncSave& operator=(AsyncSave const&) = delete;
  ~AsyncSave() {
    stop_.request_stop();
    if (work_.valid()) work_.wait();
  }

  bool under_way() const { return stage_ != Stage::none; }

  /// Begins a save. The memory of the request's pieces must stay as it is until the end: see
  /// `Snapshot`. Once it is saved, a thread of the first rank calls `afterwards()`.
  /// @throws Error on all ranks if their pieces are not those of one model at one step, or their
  /// states differ
  template <Communicator C>
  void begin(C& comm, SaveRequest request, std::function<void()> afterwards = {}) {
    NXD_EXPECTS(!under_way());
    began_ = Clock::now();
    request_ = std::move(request);
    afterwards_ = std::move(afterwards);
    end_ = {request_.step, {}, {}, {}, 0};
    auto intent = detail::gather_intent(comm, request_, shards_);
    stage_ = Stage::preparing;
    if (comm.rank() == 0)
      work([this, intent = std::move(intent)] {
        text_ = detail::prepare(storage_, detail::merged(intent.parts), intent.bytes);
      });
  }

  /// Goes on if all ranks are ready for that. @return how it has ended, if it has just now
  /// Cost: one number from each rank, and now and then some text; nothing if none is under way.
  template <Communicator C> std::optional<SaveEnd> poll(C& comm) {
    if (!under_way()) return {};
    std::int64_t busy = working() ? 1 : 0;
    all_reduce(comm, detail::all_ranks(comm), std::span<std::int64_t>(&busy, 1), Op::max);
    if (busy != 0) return {};
    return advance(comm);
  }

  /// Waits until it has ended; for the end of a run, a preemption, or the next save.
  /// @return nothing if none is under way
  template <Communicator C> std::optional<SaveEnd> wait(C& comm) {
    std::optional<SaveEnd> end;
    while (under_way() && !end) {
      if (work_.valid()) work_.wait();
      end = advance(comm);
    }
    return end;
  }

 private:
  enum class Stage : std::uint8_t { none, preparing, writing, committing, removing };

  bool working() const {
    return work_.valid() && work_.wait_for(std::chrono::seconds(0)) != std::future_status::ready;
  }

  template <class Work> void work(Work&& what) {
    work_ = std::async(std::launch::async, [what = std::forward<Work>(what)]() mutable {
      detail::stay_in_background();
      return detail::failure_of(what);
    });
  }

  /// One stage further; the work of all ranks is done.
  template <Communicator C> std::optional<SaveEnd> advance(C& comm) {
    bool const first = comm.rank() == 0;
    try {
      auto const failure = work_.valid() ? work_.get() : std::string();
      detail::raise_first(gather_texts(comm, failure));
      switch (stage_) {
        case Stage::preparing:
          place_ = detail::place_from(broadcast_text(comm, text_));
          stage_ = Stage::writing;
          write(wave_ = 0, comm.rank());
          break;
        case Stage::writing:
          if (++wave_ < detail::waves(options_, comm.size()))
            write(wave_, comm.rank());
          else
            commit(gather_texts(comm, text_), first);
          break;
        case Stage::committing:
          end_.saved = detail::result_from(storage_, place_, broadcast_text(comm, text_));
          end_.afterwards_failed = broadcast_text(comm, afterwards_failed_);
          return ended();
        case Stage::removing:
        case Stage::none: return ended();
      }
    } catch (Error const& reason) {
      if (reason.code != ExitCode::io && reason.code != ExitCode::corrupt) throw;
      return failed(reason.what(), first);
    }
    return {};
  }

  void write(std::int64_t wave, std::int64_t rank) {
    if (detail::wave_of(options_, rank) != wave) return;
    work([this, rank] {
      text_ = detail::write_part(storage_, place_.folder, shards_, request_, rank == 0,
                                 stop_.get_token());
    });
  }

  void commit(std::vector<std::string> parts, bool first) {
    stage_ = Stage::committing;
    if (!first) return;
    work([this, parts = std::move(parts)] {
      text_ = detail::commit_parts(storage_, request_, place_, parts, options_.read_back);
      auto const failure = afterwards_ ? detail::failure_of(afterwards_) : std::string();
      afterwards_failed_ = failure.substr(failure.find(' ') + 1);
    });
  }

  /// What has been written goes: all ranks have stopped writing.
  std::optional<SaveEnd> failed(std::string reason, bool first) {
    bool const nothing_left = stage_ == Stage::preparing || stage_ == Stage::removing;
    if (end_.failure.empty()) end_.failure = std::move(reason);
    if (nothing_left) return ended();
    stage_ = Stage::removing;
    if (first) work([this] { storage_.remove(place_.folder); });
    return {};
  }

  SaveEnd ended() {
    stage_ = Stage::none;
    shards_.clear();
    end_.seconds = std::chrono::duration<double>(Clock::now() - began_).count();
    return std::move(end_);
  }

  S& storage_;
  SaveOptions options_;
  Stage stage_ = Stage::none;
  Clock::time_point began_;
  SaveRequest request_;
  std::function<void()> afterwards_;
  std::vector<detail::ShardFile> shards_;  ///< point into `request_`
  detail::Place place_;
  std::int64_t wave_ = 0;  ///< of ranks that write
  std::string text_;       ///< what the work has to tell
  std::string afterwards_failed_;
  SaveEnd end_;
  std::stop_source stop_;
  std::future<std::string> work_;  ///< its failure, or nothing
};

}  // namespace nxd
