// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include <nxd/checkpoint/huggingface.hpp>
#include <nxd/comm/recorder.hpp>
#include <nxd/config/llama_batches.hpp>
#include <nxd/config/llama_parts.hpp>
#include <nxd/config/llama_start.hpp>
#include <nxd/config/llama_state.hpp>
#include <nxd/config/run_words.hpp>
#include <nxd/config/trace_llama.hpp>
#include <nxd/tensor/xtensor.hpp>
#include <nxd/train/pieces.hpp>
#include <nxd/train/progress.hpp>
#include <nxd/train/replicas.hpp>
#include <nxd/train/saving.hpp>
#include <nxd/train/tensor_overlap.hpp>
#include <nxd/train/trainer.hpp>

namespace nxd {

/// One run of `nxd train` on one rank: a Llama whose numbers are those of Backend. Region is how
/// activations live between blocks.
template <class Backend, class Region, Communicator C> class LlamaRun {
 public:
  using World = nxd::World<LlamaPlan, Backend, Recorder<C>>;
  using Stage = Llama<Region, World>;
  using Model = Pipelined<Stage, World>;

  /// @throws ConfigError, IoError, CorruptInput, on all ranks, before the first step
  LlamaRun(C comm, TrainingConfig const& config, LlamaStart<C>& start, std::ostream& out)
      : config_(config),
        watch_(start.watch),
        layout_(llama_layout(config, comm.size())),
        data_(start.data),
        world_(make_plan(start.model, layout_), Recorder(comm)),
        beside_(world_, overlap(config.distributed_strategy.tp_comm_overlap)),
        batches_(config_, data_, layout_.data_parallel, line<DP>(world_.plan, world_.rank()).place,
                 start.model.vocab_size),
        model_(make_llama<Region>(world_, config, start.model)),
        optimizer_(make_optimizer(world_, config, model_)),
        folder_(run_folder(config)),
        storage_(open_storage(run_place(config) + "/checkpoints")),
        saving_(world_.comm, storage_, retention(config)),
        log_(out, comm.rank()),
        out_(out) {
    world_.whereabouts = &this_process();
    world_.comm.tell(&watch_.attendance());
    set_products(config.precision.type);
    state_ = {start.model, layout_.seq_length, 0, 0, 0};
    watch_.warn = [this](std::string const& line) { log_.warning(line); };
    initialize(model_, static_cast<std::uint64_t>(config.seed));
    look_for_bucket();
    if (saves_in_background(config))
      saving_.in_background(
          total_bytes(training_pieces(model_, optimizer_, saved_by_each(config_))));
    begin();
  }

  /// Trains to the end. @return where the last checkpoint is, if one was saved
  /// @throws ConfigError before the first step if none of the steps to be traced is one of the
  /// run's
  std::optional<std::string> run(std::optional<TraceRequest> const& tracing = {}) {
    RunSchedule schedule;
    schedule.first = state_.steps + 1;
    schedule.last = batches_.last_step();
    schedule.validate_every = config_.trainer.val_check_interval.value_or(0);
    auto const& saving = config_.exp_manager.checkpoint_callback_params;
    bool const saves = config_.exp_manager.create_checkpoint_callback;
    schedule.save_every = saves ? saving.every_n_train_steps.value_or(0) : 0;
    schedule.save_at_end = saves && saving.save_last;
    schedule.save_when_asked = saves;
    schedule.tokens_per_step = config_.data.global_batch_size * layout_.seq_length;
    if (schedule.first > schedule.last) {
      log_.info("nothing to do: the checkpoint is at step " + std::to_string(state_.steps) +
                ", and the run ends with step " + std::to_string(schedule.last));
      return {};
    }
    std::optional<StepTracer<World>> tracer;
    if (tracing)
      tracer.emplace(world_, TraceFile(tracing->folder, world_.rank()),
                     steps_of(*tracing, schedule.first, schedule.last), facts());
    tell_plan(schedule);
    validate_before();
    std::optional<MetricsWriter> writer;
    if (world_.rank() == 0) writer.emplace(folder_, state_.steps);
    Progress progress(out_, world_.rank(), ProgressStyle::of(1, config_.trainer.log_every_n_steps),
                      schedule.last);
    auto h = hooks(writer, progress);
    h.begin = [&](std::int64_t step) {
      watch_.begin_step(step);
      if (tracer) try_to_trace([&] { tracer->before(step); });
    };
    try {
      train(world_, model_, optimizer_, schedule, h);
    } catch (Error const& e) {  // on all ranks alike
      watch_.begin(Phase::save);
      if (e.code == ExitCode::non_finite || e.code == ExitCode::requeue) saving_.finish();
      throw;
    }
    watch_.begin(Phase::save);
    save_last(schedule);
    if (tracer) try_to_trace([&] { tracer->finish(); });
    progress.finish();
    watch_.begin(Phase::none);
    if (world_.rank() == 0) detail::draw_losses(out_, folder_);
    return saving_.newest();
  }

 private:
  static Retention retention(TrainingConfig const& config) {
    auto const& saving = config.exp_manager.checkpoint_callback_params;
    Retention keep;
    keep.newest = saving.save_top_k;
    keep.every = saving.keep_every_n_train_steps.value_or(0);
    return keep;
  }

  /// `trainer.num_sanity_val_steps`: what goes wrong in a validation does so before training.
  void validate_before() {
    auto const batches = std::min(config_.trainer.num_sanity_val_steps, batches_.of_a_validation());
    if (batches == 0) return;
    auto const held_out = batches_.held_out(batches);
    Hooks h;
    h.enter = [this](std::string_view what) { watch_.enter(what); };
    h.ends = [this] { return watch_.asked() != 0; };
    auto const loss =
        validate(world_, model_, std::span<Microbatch const>(held_out), batches_.a_step(), h);
    if (!loss) Interrupt::end_before_steps(watch_.asked());
    log_.info("validation before the first step: loss " + std::to_string(*loss));
  }

  TraceFacts facts() const { return trace_facts(config_, state_.model, world_.comm.size()); }

  /// That a trace is not written is no reason to stop.
  void try_to_trace(auto const& work) {
    try {
      work();
    } catch (IoError const& reason) {
      log_.error(reason.what());
    }
  }

  Hooks hooks(std::optional<MetricsWriter>& writer, Progress& progress) {
    Hooks h;
    h.batches = batches_.training();
    if (auto const batches = batches_.of_a_validation(); batches > 0)
      h.validation = [this, batches] { return batches_.held_out(batches); };
    h.rate = [schedule = lr_schedule(config_)](std::int64_t step) {
      return learning_rate(schedule, step - 1);
    };
    h.takes = [this](std::int64_t, StepReport const& report) { return watch_.takes(report); };
    h.enter = [this](std::string_view what) { watch_.enter(what); };
    h.ends = [this] { return watch_.asked() != 0; };
    h.report = [this, &writer, &progress](StepMetrics const& m) {
      compare_replicas(m.step);
      if (writer) writer->write(m);
      progress.update(m);
    };
    h.boundary = [this] { saving_.boundary(); };
    h.save = [this](std::int64_t step, StepMetrics const& m) { saving_.save(request(step, m)); };
    saving_.tell = [&progress](std::string const& line) { progress.note(line); };
    return h;
  }

  /// What ranks hold in common, bit by bit, before it can be saved.
  void compare_replicas(std::int64_t step) {
    auto const every = config_.trainer.check_weight_hash_across_dp_replicas_interval.value_or(0);
    if (every == 0 || step % every != 0) return;
    world_.whereabouts->at("the comparison of replicas");
    check_replicas(watch_.comm(), world_, model_, optimizer_);
  }

  SaveRequest request(std::int64_t step, StepMetrics const& m) {
    state_.steps = step;
    state_.consumed_samples = step * config_.data.global_batch_size;
    state_.tokens = m.tokens;
    last_metrics_ = m;
    SaveRequest request;
    request.step = step;
    request.pieces = training_pieces(model_, optimizer_, saved_by_each(config_));
    request.state = to_text(state_);
    request.info.layout = {{"dp", layout_.data_parallel},
                           {"pp", model_.along().count},
                           {"tp", layout_.tensor_parallel}};
    request.info.config_hash = detail::hex(fingerprint(config_));
    request.info.dataset_fp = detail::hex(data_.train.fingerprint());
    request.info.tokenizer_fp = detail::hex(ByteTokenizer::fingerprint());
    request.info.health = {true, m.grad_norm, m.loss};
    return request;
  }

  /// Waits for the last save. What a run ends with is worth a second try, and an error if that
  /// fails too; where no save is wanted at the end, there is nothing to try.
  void save_last(RunSchedule const& schedule) {
    saving_.finish();
    if (saving_.unsaved_step() != schedule.last) return;
    saving_.save_now(request(schedule.last, last_metrics_));
    if (saving_.unsaved_step()) throw IoError(saving_.failure());
  }

  LoadOptions options() const {
    auto const& exp = config_.exp_manager;
    LoadOptions options;
    if (exp.allow_fresh_start) options.fresh_start = FreshStart::allowed;
    options.reading = exp.load_xser ? Reading::shared : Reading::each;
    return options;
  }

  /// A wrong name, or credentials that do not fit, end a run before its first step.
  void look_for_bucket() {
    auto const place = storage_.where("");
    if (!is_in_bucket(place)) return;
    together(world_.comm, [&] {
      if (world_.rank() == 0) storage_.make_root();
    });
    log_.info("checkpoints in " + place + ", all else in " + folder_);
  }

  /// Where the run starts: from what the configuration names, from its own newest checkpoint, or
  /// anew.
  void begin() {
    watch_.begin(Phase::load);
    this_process().say("the load");
    auto const& exp = config_.exp_manager;
    if (exp.resume_from_checkpoint && config_.model.weight_init_only)
      return take_weights(*exp.resume_from_checkpoint);
    auto const pieces = training_pieces(model_, optimizer_, Holding::all);
    if (exp.resume_from_checkpoint) {
      auto const path = checkpoint_path(*exp.resume_from_checkpoint);
      auto from = open_storage(path.directory);
      return resumed(load(world_.comm, from, entry_of(world_.comm, from, path), pieces, options()),
                     path.directory);
    }
    if (!exp.resume_if_exists) return;
    if (auto const loaded = resume(world_.comm, storage_, pieces, options())) {
      for (auto const& reason : loaded->skipped) log_.warning("passed over: " + reason);
      resumed(*loaded, storage_.where(""));
    } else if (!exp.resume_ignore_no_checkpoint) {
      log_.info("no checkpoint in " + storage_.where("") + " yet: a fresh start");
    }
  }

  /// Weights alone, from a checkpoint of ours or from a Hugging Face folder; training begins anew.
  void take_weights(std::string const& from) {
    auto pieces = model_pieces(model_, Holding::all);
    if (!is_in_bucket(from) && std::filesystem::exists(from + "/config.json")) {
      PosixStorage folder(from);
      load_huggingface(world_.comm, folder, pieces);
    } else {
      auto const path = checkpoint_path(from);
      auto folder = open_storage(path.directory);
      load(world_.comm, folder, entry_of(world_.comm, folder, path), pieces, options());
    }
    optimizer_.take_weights(model_);
    log_.info("weights from " + from);
  }

  void resumed(Loaded const& loaded, std::string const& directory) {
    auto const where = directory + "/" + loaded.entry;
    auto const state = parse_llama_state(loaded.state, where + "/" + state_name);
    if (state.consumed_samples != state.steps * config_.data.global_batch_size)
      throw ConfigError(where + ": was trained on " + std::to_string(state.consumed_samples) +
                        " samples in " + std::to_string(state.steps) +
                        " steps; set data.global_batch_size to what it was");
    auto const model = state_.model;
    state_ = state;
    state_.model = model;
    optimizer_.set_steps(state.steps);
    optimizer_.give_weights(model_);
    if (storage_.where("") == directory) saving_.pin(loaded.entry);
    log_.info("resumed from " + where + " at step " + std::to_string(state.steps));
  }

  /// Of the whole model.
  double parameters() {
    double sum = 0;
    model_.visit([&]<class X, class M>(ParameterInfo const& info, Var<X, World> const&, M m) {
      if (info.sharing == Sharing::again) return;
      for (auto const& p : portions<X>(info, world_.plan, world_.rank(), m)) {
        double n = 1;
        for (auto const e : p.shape) n *= static_cast<double>(e);
        sum += n;
      }
    });
    all_reduce(world_.comm, model_.along(), std::span<double>(&sum, 1));
    return sum;
  }

  void tell_plan(RunSchedule const& schedule) {
    log_.info("Llama of " + detail::in_thousands(parameters()) + " parameters on " +
              layout_words(config_, world_.comm.size()) +
              (model_.along().count > 1
                   ? ", bubble " + detail::percent(verify(model_.plan().training).bubble())
                   : ""));
    log_.info("steps " + std::to_string(schedule.first) + " to " + std::to_string(schedule.last) +
              ", " + detail::in_thousands(static_cast<double>(schedule.tokens_per_step)) +
              " tokens each, from " +
              detail::in_thousands(static_cast<double>(data_.train.size())) + " samples of " +
              std::to_string(layout_.seq_length));
  }

  TrainingConfig config_;
  RunWatch<C>& watch_;
  LlamaLayout layout_;
  Split data_;
  World world_;
  TensorOverlap<World> beside_;
  LlamaBatches batches_;
  Model model_;
  nxd::Optimizer<Zero1OrReplicated<AnyUpdate>, World> optimizer_;
  LlamaState state_;
  std::string folder_;
  AnyStorage storage_;
  Saving<Backend, Recorder<C>, AnyStorage> saving_;
  StepMetrics last_metrics_;  ///< of the step that was saved last
  Logger log_;
  std::ostream& out_;
};

/// `train_llama` of a run whose numbers are those of Backend, when all that it needs is there.
template <class Backend, Communicator C>
std::optional<std::string> run_llama(C comm, TrainingConfig const& config, LlamaStart<C>& start,
                                     std::ostream& out,
                                     std::optional<TraceRequest> const& tracing) {
  return with_region(config.distributed_strategy, [&]<class Region>() {
    return LlamaRun<Backend, Region, C>(comm, config, start, out).run(tracing);
  });
}

/// Trains what a configuration describes. Each rank leaves a trace if one is asked for.
/// @return where the last checkpoint is, if one was saved
template <Communicator C>
std::optional<std::string> train_llama(C comm, TrainingConfig const& config, std::ostream& out,
                                       std::optional<TraceRequest> const& tracing = {}) {
  LlamaStart<C> start(comm, config);
  if (tracing) TraceFile(tracing->folder, comm.rank());  // whether it can be written shows now
  return with_backend(config.precision, [&]<class Backend>() {
    return run_llama<Backend>(comm, config, start, out, tracing);
  });
}

}  // namespace nxd
