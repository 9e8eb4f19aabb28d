#include "trainer/training_run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "gradwire/error.hpp"
#include "trainer/agreement.hpp"
#include "trainer/checkpoint_set.hpp"
#include "trainer/common_settings.hpp"
#include "trainer/core_sharing.hpp"
#include "trainer/device_choice.hpp"
#include "trainer/evaluation.hpp"
#include "trainer/gemm.hpp"
#include "trainer/host_view.hpp"
#include "trainer/joined.hpp"
#include "trainer/loss_mean.hpp"
#include "trainer/mlp.hpp"
#include "trainer/modes/gradient_reducer.hpp"
#include "trainer/shard_sampler.hpp"
#include "trainer/stop_watch.hpp"
#include "trainer/straggler.hpp"
#include "trainer/training_mode.hpp"

namespace gradwire::trainer {

namespace {

constexpr std::size_t kRowsOfEvaluation = 250;

std::vector<int> layer_widths(const TrainOptions& options, const Dataset& data) {
  std::vector<int> widths{static_cast<int>(data.features)};
  widths.insert(widths.end(), options.hidden.begin(), options.hidden.end());
  widths.push_back(static_cast<int>(data.classes));
  return widths;
}

class TrainingRun {
 public:
  TrainingRun(RankGroup ranks, const TrainOptions& options, const Dataset& data, NoticeCallback notice)
      : ranks_(std::move(ranks)),
        notice_(std::move(notice)),
        options_(options),
        data_(data),
        compute_(make_compute(parse_device(options.device), ranks_)),
        model_(*compute_, layer_widths(options, data), std::max(options.batch, kRowsOfEvaluation)),
        weights_(*compute_, model_.weights()),
        sampler_(data.train.count(), ranks_.rank(), ranks_.size(), options.batch, options.seed),
        total_steps_(options.steps != 0 ? options.steps : options.epochs * sampler_.steps_per_epoch()),
        pacer_(parse_straggler(options.straggler), options.min_step_ms, ranks_.rank(), options.seed) {}

  TrainReport run(const ProgressCallback& progress);

 private:
  void begin();
  void train_step(std::uint64_t step);
  void evaluate();
  void finish_epoch();
  [[nodiscard]] Checkpoint identity();
  void save();
  void load();
  TrainReport finish();
  void count_communication();
  void say(const std::string& notice) const {
    if (notice_) notice_(notice);
  }
  /// As the host sees them.
  [[nodiscard]] std::span<float> fetched_weights() {
    weights_.fetch();
    return weights_.values();
  }

  RankGroup ranks_;
  NoticeCallback notice_;
  const TrainOptions& options_;
  const Dataset& data_;
  std::unique_ptr<Compute> compute_;
  Mlp model_;
  HostView weights_;
  ShardSampler sampler_;
  std::uint64_t total_steps_;
  StepPacer pacer_;
  std::unique_ptr<TrainingMode> mode_;
  double loss_ = 0;
  int threads_ = 1;
  std::vector<std::uint8_t> labels_;

  std::uint64_t first_step_ = 0;
  std::uint64_t next_step_ = 0;
  std::uint64_t steps_taken_ = 0;
  StopWatch watch_;
  double resumed_seconds_ = 0;
  double epoch_started_ = 0;
  LossMean epoch_loss_;
  LossMean recent_loss_;
  std::uint64_t samples_ = 0;
  double accuracy_ = -1;
  TrainReport report_;
};

void TrainingRun::begin() {
  auto settings = common_settings(options_, data_, model_.widths(), total_steps_);
  const std::string lines = lines_of(settings);
  // Servers need not be told where they are; a job that goes on may find them elsewhere.
  settings.emplace_back("--server-addresses", joined(options_.modes.server_addresses, ","));
  // Of a rank that rejoins only the servers know what the others were given.
  if (!options_.rejoin) require_agreement_on(ranks_.comm(), settings);
  mode_ = make_mode({ranks_, options_, model_, lines, notice_});
  const int sharing = options_.rejoin ? ranks_.size() : ranks_sharing(ranks_.comm(), usable_cores());
  threads_ = options_.threads != 0 ? options_.threads : default_gemm_threads(sharing);
  set_gemm_threads(threads_);
  if (options_.resume.empty()) {
    model_.initialize(options_.seed);
    // Mathematical functions may differ by a bit between machines.
    (void)ranks_.together([this](Communicator& comm) { comm.broadcast(fetched_weights()); });
    weights_.store();
  } else {
    load();
  }
  mode_->begin(first_step_);
  first_step_ = next_step_ = std::min(mode_->next_step(first_step_), total_steps_);
  if (options_.rejoin) say(fmt::format("joined the servers at step {} of {}", first_step_, total_steps_));
  (void)ranks_.together([](Communicator& comm) { comm.barrier(); });
  if (!outlives_ranks(options_.mode)) return;
  ranks_.outlive_others(notice_);
  // None sets out, and may end, before all can do without it.
  (void)ranks_.together([](Communicator& comm) { comm.barrier(); });
}

void TrainingRun::train_step(std::uint64_t step) {
  mode_->begin_step(step);
  const auto indices = sampler_.local(step);
  const std::size_t rows = indices.size();
  const std::size_t global = sampler_.global_count(step);
  const auto started = std::chrono::steady_clock::now();
  data_.gather(data_.train, indices, model_.inputs());
  labels_.resize(rows);
  std::ranges::transform(indices, labels_.begin(), [&](std::uint32_t i) { return data_.train.labels[i]; });

  // Weighted, the mean over ranks of these is the mean over the global batch, also where ranks have unequal
  // parts of it.
  const double scale = mode_->is_weighted() ? static_cast<double>(ranks_.size()) / static_cast<double>(global)
                                            : 1.0 / static_cast<double>(std::max<std::size_t>(rows, 1));
  const auto logits = model_.forward(rows);
  const double loss =
      compute_->softmax_cross_entropy(logits, data_.classes, labels_, static_cast<float>(scale));
  mode_->note_loss(scale * loss);
  model_.backward(rows, [this](int parameter) { mode_->ready(parameter); });
  compute_->wait();
  pacer_.stretch(std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count());
  loss_ = mode_->finish_step(step);
  epoch_loss_.add(loss_, global);
  recent_loss_.add(loss_, global);
  samples_ += global;
  ++steps_taken_;
  next_step_ = std::min(mode_->next_step(step + 1), total_steps_);
  if (next_step_ == step + 1) return;
  say(fmt::format("was not heard of for too long, and joined the servers again at step {} of {}", next_step_,
                  total_steps_));
  // It has missed what all ranks were to do together.
  ranks_.leave();
}

void TrainingRun::evaluate() {
  if (next_step_ == total_steps_) mode_->finish();
  mode_->settle();
  accuracy_ = test_accuracy(ranks_, model_, data_).value_or(accuracy_);
  report_.evaluations.push_back(
      {next_step_, ranks_.mean(recent_loss_.value()), accuracy_, watch_.stopped_seconds()});
  recent_loss_ = {};
}

void TrainingRun::finish_epoch() {
  const std::uint64_t epoch = (next_step_ + sampler_.steps_per_epoch() - 1) / sampler_.steps_per_epoch();
  const double now = watch_.stopped_seconds();
  report_.epochs.push_back({epoch, ranks_.mean(epoch_loss_.value()), accuracy_, now - epoch_started_, now});
  epoch_started_ = now;
  epoch_loss_ = {};
}

TrainReport TrainingRun::run(const ProgressCallback& progress) {
  begin();
  if (next_step_ == total_steps_) {
    // Others have finished without this rank.
    evaluate();
    finish_epoch();
  }
  watch_.start();
  while (next_step_ < total_steps_) {
    train_step(next_step_);
    const bool last = next_step_ == total_steps_;
    const bool epoch_ends = last || next_step_ % sampler_.steps_per_epoch() == 0;
    const bool evaluates = epoch_ends || (options_.eval_every != 0 && next_step_ % options_.eval_every == 0);
    const bool saves =
        !options_.checkpoint.empty() &&
        (epoch_ends || (options_.checkpoint_every != 0 && next_step_ % options_.checkpoint_every == 0));
    if (evaluates || saves) {
      // An epoch takes as long as its slowest rank, also where nobody waits for it within.
      (void)ranks_.together([](Communicator& comm) { comm.barrier(); });
      watch_.stop();
      if (evaluates) evaluate();
      if (epoch_ends) finish_epoch();
      if (saves) save();
      (void)ranks_.together([](Communicator& comm) { comm.barrier(); });
      watch_.start();
    }
    if (progress) {
      progress({next_step_, total_steps_, loss_, accuracy_, watch_.running_seconds()});
    }
  }
  return finish();
}

Checkpoint TrainingRun::identity() {
  Checkpoint checkpoint;
  checkpoint.data = data_.name;
  checkpoint.widths = model_.widths();
  checkpoint.rank = ranks_.rank();
  checkpoint.world_size = ranks_.size();
  checkpoint.batch = options_.batch;
  checkpoint.seed = options_.seed;
  const auto weights = fetched_weights();
  checkpoint.weights.assign(weights.begin(), weights.end());
  return checkpoint;
}

void TrainingRun::save() {
  Checkpoint checkpoint = identity();
  checkpoint.step = next_step_;
  checkpoint.seconds = watch_.stopped_seconds();
  checkpoint.loss_sum = epoch_loss_.sum;
  checkpoint.loss_samples = epoch_loss_.samples;
  mode_->save(checkpoint);
  save_checkpoint_set(ranks_.comm(), options_.checkpoint, checkpoint);
}

void TrainingRun::load() {
  const Checkpoint checkpoint =
      load_checkpoint_set(ranks_.comm(), options_.resume, identity(), mode_->most_state_bytes());
  if (checkpoint.step >= total_steps_) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("checkpoint {} is at step {} and the run ends at step {}", options_.resume,
                            checkpoint.step, total_steps_),
                "ask for more --epochs or --steps");
  }
  compute_->upload(checkpoint.weights, model_.weights());
  mode_->load(checkpoint);
  first_step_ = next_step_ = checkpoint.step;
  watch_.add(checkpoint.seconds);
  resumed_seconds_ = epoch_started_ = checkpoint.seconds;
  epoch_loss_ = {checkpoint.loss_sum, checkpoint.loss_samples};
}

TrainReport TrainingRun::finish() {
  report_.options = options_;
  report_.options.device = to_string(compute_->device());
  report_.options.bucket_bytes = bucket_bytes_in_use(options_);
  report_.data = data_.name;
  report_.widths = model_.widths();
  report_.ranks = ranks_.size();
  report_.threads = threads_;
  report_.steps = steps_taken_;
  report_.test_accuracy = accuracy_;
  report_.seconds = watch_.stopped_seconds() - resumed_seconds_;
  report_.samples_per_second = static_cast<double>(samples_) / std::max(report_.seconds, 1e-9);
  count_communication();
  report_.exposed_communication_seconds = mode_->exposed_seconds();
  report_.weights_fingerprint = fingerprint(std::as_bytes(fetched_weights()));
  // Servers that lost updates may have shown them to some ranks before.
  if (mode_->keeps_replicas() && report_.updates_lost == 0) {
    (void)ranks_.together([this](Communicator& comm) {
      report_.replicas_identical = same_on_all_ranks(comm, report_.weights_fingerprint);
    });
  }
  report_.alone = ranks_.is_alone();
  return std::move(report_);
}

void TrainingRun::count_communication() {
  const auto steps = static_cast<double>(std::max<std::uint64_t>(report_.steps, 1));
  const ParameterServerClientReport own = mode_->server_report();
  const std::uint64_t sent = mode_->wire_bytes();
  report_.wire_bytes_per_step = ranks_.mean(static_cast<double>(sent) / steps);
  // What ranks send each other they also receive.
  report_.wire_bytes_received_per_step =
      ranks_.mean(static_cast<double>(sent - own.wire_bytes_sent + own.wire_bytes_received) / steps);
  const auto sum = [this](std::uint64_t value) {
    const auto all = ranks_.values(value);
    return std::accumulate(all.begin(), all.end(), std::uint64_t{0});
  };
  report_.max_staleness = std::ranges::max(ranks_.values(own.max_staleness));
  const auto staleness =
      sum(static_cast<std::uint64_t>(std::llround(own.mean_staleness * static_cast<double>(own.pulls))));
  report_.mean_staleness =
      static_cast<double>(staleness) / static_cast<double>(std::max<std::uint64_t>(sum(own.pulls), 1));
  report_.updates_applied = sum(own.pushes - std::min(own.pushes, own.lost_pushes));
  report_.updates_lost = sum(own.lost_pushes);
}

}  // namespace

TrainReport train(RankGroup ranks, const TrainOptions& options, const Dataset& data,
                  const ProgressCallback& progress, const NoticeCallback& notice) {
  validate(options, ranks.size());
  TrainingRun run(std::move(ranks), options, data, notice);
  return run.run(progress);
}

}  // namespace gradwire::trainer
