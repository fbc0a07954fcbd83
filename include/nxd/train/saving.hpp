// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include <nxd/checkpoint/async_save.hpp>
#include <nxd/checkpoint/retention.hpp>
#include <nxd/checkpoint/snapshot.hpp>

namespace nxd {

/// The checkpoints that a run leaves on its way: they are saved, told of and counted, and old ones
/// go. A save that storage refuses does not end the run. With a snapshot, training goes on while a
/// save is written. All members are called on all ranks, at the same steps.
template <class B, Communicator C, Storage S> class Saving {
 public:
  /// @param keep which old checkpoints stay, after each save
  Saving(C& comm, S& storage, Retention keep, SaveOptions options = {})
      : comm_(comm),
        storage_(storage),
        keep_(std::move(keep)),
        options_(options),
        background_(storage, options) {}

  /// From now on training goes on while a save is written, from a copy of `bytes` at most.
  void in_background(std::int64_t bytes) { snapshot_.emplace(bytes); }

  /// An entry that a run was resumed from stays.
  void pin(std::string entry) { keep_.pinned.push_back(std::move(entry)); }

  /// Told of what has been saved, and what has not.
  std::function<void(std::string const&)> tell = [](std::string const&) {};

  /// Saves a state, or begins to; what is still being written is waited for.
  void save(SaveRequest request) {
    finish();
    if (!snapshot_) return save_now(request);
    request.pieces = snapshot_->copy(request.pieces);
    background_.begin(comm_, std::move(request), [this] { retire(); });
  }

  /// Saves a state while training waits.
  void save_now(SaveRequest const& request) {
    SaveEnd end{request.step, {}, {}, {}, 0};
    try {
      end.saved = nxd::save(comm_, storage_, request, options_);
    } catch (Error const& reason) {
      if (reason.code != ExitCode::io && reason.code != ExitCode::corrupt) throw;
      end.failure = reason.what();
    }
    if (end.saved && comm_.rank() == 0) try {
        retire();
      } catch (Error const& reason) {
        end.afterwards_failed = reason.what();
      }
    note(end);
  }

  /// At each step boundary: goes on with the save that is under way.
  void boundary() {
    if (auto const end = background_.poll(comm_)) note(*end);
  }

  /// Waits for the save that is under way: before a run ends, for whatever reason.
  void finish() {
    if (auto const end = background_.wait(comm_)) note(*end);
  }

  /// Where the newest checkpoint of this run is.
  std::optional<std::string> const& newest() const { return newest_; }

  /// The step of the last save, if it has failed; and why.
  std::optional<std::int64_t> const& unsaved_step() const { return unsaved_step_; }
  std::string const& failure() const { return failure_; }
  /// How many saves have failed.
  std::int64_t failures() const { return failures_; }

 private:
  void retire() { prune(storage_, keep_); }

  void note(SaveEnd const& end) {
    unsaved_step_.reset();
    if (end.saved && end.saved->entry.starts_with(".diag-"))
      return tell("warning: the weights of step " + std::to_string(end.step) +
                  " are not finite; for somebody to look at: " + end.saved->path);
    if (end.saved) {
      newest_ = end.saved->path;
      tell("saved " + *newest_);
      if (!end.afterwards_failed.empty())
        tell("warning: an old checkpoint stays: " + end.afterwards_failed);
      return;
    }
    unsaved_step_ = end.step;
    failure_ = end.failure;
    ++failures_;
    tell("warning: step " + std::to_string(end.step) + " is not saved: " + end.failure +
         "; training goes on (" + std::to_string(failures_) +
         (failures_ == 1 ? " save has failed)" : " saves have failed)"));
  }

  C& comm_;
  S& storage_;
  Retention keep_;
  SaveOptions options_;
  std::optional<Snapshot<B>> snapshot_;
  AsyncSave<S> background_;  ///< ends before the snapshot does
  std::optional<std::string> newest_;
  std::optional<std::int64_t> unsaved_step_;
  std::string failure_;
  std::int64_t failures_ = 0;
};

}  // namespace nxd
