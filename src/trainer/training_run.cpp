#include "trainer/training_run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "gradwire/error.hpp"
#include "gradwire/reducer.hpp"
#include "trainer/agreement.hpp"
#include "trainer/checkpoint_set.hpp"
#include "trainer/core_sharing.hpp"
#include "trainer/evaluation.hpp"
#include "trainer/gemm.hpp"
#include "trainer/joined.hpp"
#include "trainer/loss_mean.hpp"
#include "trainer/mlp.hpp"
#include "trainer/sgd.hpp"
#include "trainer/shard_sampler.hpp"
#include "trainer/softmax_loss.hpp"
#include "trainer/stop_watch.hpp"

namespace gradwire::trainer {

namespace {

constexpr std::size_t kOverlapBucketBytes = std::size_t{1} << 20U;
constexpr std::size_t kRowsOfEvaluation = 250;

std::vector<int> layer_widths(const TrainOptions& options, const Dataset& data) {
  std::vector<int> widths{static_cast<int>(data.features)};
  widths.insert(widths.end(), options.hidden.begin(), options.hidden.end());
  widths.push_back(static_cast<int>(data.classes));
  return widths;
}

std::size_t bucket_bytes_in_use(const TrainOptions& options) {
  if (options.bucket_bytes != 0) return options.bucket_bytes;
  return options.overlap ? kOverlapBucketBytes : ReducerOptions{}.bucket_bytes;
}

class TrainingRun {
 public:
  TrainingRun(Communicator comm, const TrainOptions& options, const Dataset& data)
      : comm_(std::move(comm)),
        options_(options),
        data_(data),
        model_(layer_widths(options, data), std::max(options.batch, kRowsOfEvaluation)),
        sgd_(model_.weights().size(), options.sgd),
        sampler_(data.train.count(), comm_.rank(), comm_.world_size(), options.batch, options.seed),
        total_steps_(options.steps != 0 ? options.steps : options.epochs * sampler_.steps_per_epoch()),
        loss_slot_(1),
        reducer_(make_reducer()) {}

  TrainReport run(const ProgressCallback& progress);

 private:
  Reducer make_reducer();
  void require_agreement();
  void begin();
  void train_step(std::uint64_t step);
  void evaluate();
  void finish_epoch();
  [[nodiscard]] Checkpoint identity();
  void save();
  void load();
  TrainReport finish();
  [[nodiscard]] std::uint64_t weights_fingerprint() { return fingerprint(std::as_bytes(model_.weights())); }

  Communicator comm_;
  const TrainOptions& options_;
  const Dataset& data_;
  Mlp model_;
  Sgd sgd_;
  ShardSampler sampler_;
  std::uint64_t total_steps_;
  /// Reduced with the gradients: every rank sees the mean, and so all agree on whether it is finite, without
  /// another message.
  FloatArena loss_slot_;
  Reducer reducer_;
  int threads_ = 1;
  std::vector<std::uint8_t> labels_;

  std::uint64_t first_step_ = 0;
  std::uint64_t next_step_ = 0;
  StopWatch watch_;
  double resumed_seconds_ = 0;
  double epoch_started_ = 0;
  LossMean epoch_loss_;
  LossMean recent_loss_;
  std::uint64_t samples_ = 0;
  double accuracy_ = -1;
  TrainReport report_;
};

Reducer TrainingRun::make_reducer() {
  std::vector<NamedTensor> tensors;
  tensors.push_back({"loss", Tensor(std::span<float>(loss_slot_))});
  const auto& parameters = model_.parameters();
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    tensors.push_back({parameters[i].name, Tensor(model_.gradient(static_cast<int>(i)))});
  }
  ReducerOptions options;
  // Checks the name even when a warm start begins with another.
  options.codec = options_.codec;
  options.algorithm = options_.algorithm;
  options.error_feedback = options_.error_feedback;
  options.overlap = options_.overlap;
  options.bucket_bytes = bucket_bytes_in_use(options_);
  return {comm_, std::move(tensors), options};
}

void TrainingRun::require_agreement() {
  require_agreement_on(comm_, {{"--data", data_.name},
                               {"training images", fmt::to_string(data_.train.count())},
                               {"test images", fmt::to_string(data_.test.count())},
                               {"--hidden", joined(model_.widths(), "-")},
                               {"--batch", fmt::to_string(options_.batch)},
                               {"--lr", fmt::to_string(options_.sgd.learning_rate)},
                               {"--momentum", fmt::to_string(options_.sgd.momentum)},
                               {"--weight-decay", fmt::to_string(options_.sgd.weight_decay)},
                               {"--epochs or --steps", fmt::format("{} steps", total_steps_)},
                               {"--seed", fmt::to_string(options_.seed)},
                               {"--codec", options_.codec},
                               {"--algorithm", options_.algorithm},
                               {"--no-error-feedback", options_.error_feedback ? "left out" : "given"},
                               {"--warm-start", fmt::to_string(options_.warm_start)},
                               {"--overlap", options_.overlap ? "given" : "left out"},
                               {"--bucket-bytes", fmt::to_string(options_.bucket_bytes)},
                               {"--eval-every", fmt::to_string(options_.eval_every)},
                               {"--checkpoint", options_.checkpoint.empty() ? "left out" : "given"},
                               {"--checkpoint-every", fmt::to_string(options_.checkpoint_every)},
                               {"--resume", options_.resume.empty() ? "left out" : "given"}});
}

void TrainingRun::begin() {
  require_agreement();
  const int sharing = ranks_sharing(comm_, usable_cores());
  threads_ = options_.threads != 0 ? options_.threads : default_gemm_threads(sharing);
  set_gemm_threads(threads_);
  if (options_.resume.empty()) {
    model_.initialize(options_.seed);
    // Mathematical functions may differ by a bit between machines.
    comm_.broadcast(model_.weights());
  } else {
    load();
  }
  if (options_.warm_start > first_step_) reducer_.set_codec("none");
}

Error diverged(const std::string& what, std::uint64_t step) {
  return {ErrorCode::non_finite, fmt::format("{} in step {}", what, step + 1),
          "lower --lr, or look for broken inputs"};
}

void TrainingRun::train_step(std::uint64_t step) {
  if (step == options_.warm_start && step != first_step_) reducer_.set_codec(options_.codec);
  const auto indices = sampler_.local(step);
  const std::size_t rows = indices.size();
  const std::size_t global = sampler_.global_count(step);
  data_.gather(data_.train, indices, model_.inputs());
  labels_.resize(rows);
  std::ranges::transform(indices, labels_.begin(), [&](std::uint32_t i) { return data_.train.labels[i]; });

  // The mean over ranks of these is the mean over the global batch, also where ranks have unequal parts of
  // it.
  const double scale = static_cast<double>(comm_.world_size()) / static_cast<double>(global);
  const auto logits = model_.forward(rows);
  loss_slot_[0] = static_cast<float>(
      scale * softmax_cross_entropy(logits, data_.classes, labels_, static_cast<float>(scale)));
  reducer_.ready(0);
  model_.backward(rows, [this](int parameter) { reducer_.ready(parameter + 1); });
  try {
    reducer_.wait();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::non_finite) throw;
    throw diverged("a gradient became NaN or infinite", step);
  }
  const auto loss = static_cast<double>(loss_slot_[0]);
  if (!std::isfinite(loss)) {
    throw diverged(fmt::format("the loss became {}", std::isnan(loss) ? "NaN" : "infinite"), step);
  }
  if (!sgd_.step(model_.weights(), model_.gradients())) {
    throw diverged("a gradient became NaN or infinite", step);
  }
  epoch_loss_.add(loss, global);
  recent_loss_.add(loss, global);
  samples_ += global;
  next_step_ = step + 1;
}

void TrainingRun::evaluate() {
  accuracy_ = test_accuracy(comm_, model_, data_);
  report_.evaluations.push_back({next_step_, recent_loss_.value(), accuracy_, watch_.stopped_seconds()});
  recent_loss_ = {};
}

void TrainingRun::finish_epoch() {
  const std::uint64_t epoch = (next_step_ + sampler_.steps_per_epoch() - 1) / sampler_.steps_per_epoch();
  const double now = watch_.stopped_seconds();
  report_.epochs.push_back({epoch, epoch_loss_.value(), accuracy_, now - epoch_started_, now});
  epoch_started_ = now;
  epoch_loss_ = {};
}

TrainReport TrainingRun::run(const ProgressCallback& progress) {
  begin();
  reducer_.reset_metrics();
  comm_.barrier();
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
      watch_.stop();
      if (evaluates) evaluate();
      if (epoch_ends) finish_epoch();
      if (saves) save();
      comm_.barrier();
      watch_.start();
    }
    if (progress) {
      progress({next_step_, total_steps_, static_cast<double>(loss_slot_[0]), accuracy_,
                watch_.running_seconds()});
    }
  }
  return finish();
}

Checkpoint TrainingRun::identity() {
  Checkpoint checkpoint;
  checkpoint.data = data_.name;
  checkpoint.widths = model_.widths();
  checkpoint.rank = comm_.rank();
  checkpoint.world_size = comm_.world_size();
  checkpoint.batch = options_.batch;
  checkpoint.seed = options_.seed;
  checkpoint.weights.assign(model_.weights().begin(), model_.weights().end());
  return checkpoint;
}

void TrainingRun::save() {
  Checkpoint checkpoint = identity();
  checkpoint.step = next_step_;
  checkpoint.seconds = watch_.stopped_seconds();
  checkpoint.loss_sum = epoch_loss_.sum;
  checkpoint.loss_samples = epoch_loss_.samples;
  checkpoint.velocity.assign(sgd_.velocity().begin(), sgd_.velocity().end());
  checkpoint.reducer_state = reducer_.save_state();
  save_checkpoint_set(comm_, options_.checkpoint, checkpoint);
}

void TrainingRun::load() {
  // One float of residual for each gradient and the loss.
  const std::uint64_t most_state_bytes =
      reducer_.save_state().size() + sizeof(float) * (model_.gradients().size() + loss_slot_.size());
  const Checkpoint checkpoint = load_checkpoint_set(comm_, options_.resume, identity(), most_state_bytes);
  if (checkpoint.step >= total_steps_) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("checkpoint {} is at step {} and the run ends at step {}", options_.resume,
                            checkpoint.step, total_steps_),
                "ask for more --epochs or --steps");
  }
  std::ranges::copy(checkpoint.weights, model_.weights().begin());
  std::ranges::copy(checkpoint.velocity, sgd_.velocity().begin());
  reducer_.load_state(checkpoint.reducer_state);
  first_step_ = next_step_ = checkpoint.step;
  watch_.add(checkpoint.seconds);
  resumed_seconds_ = epoch_started_ = checkpoint.seconds;
  epoch_loss_ = {checkpoint.loss_sum, checkpoint.loss_samples};
}

TrainReport TrainingRun::finish() {
  const auto metrics = reducer_.metrics();
  std::uint64_t wire_bytes = 0;
  for (const auto& [codec, bytes] : metrics.wire_bytes) wire_bytes += bytes;
  report_.options = options_;
  report_.options.bucket_bytes = bucket_bytes_in_use(options_);
  report_.data = data_.name;
  report_.widths = model_.widths();
  report_.ranks = comm_.world_size();
  report_.threads = threads_;
  report_.steps = next_step_ - first_step_;
  report_.test_accuracy = accuracy_;
  report_.seconds = watch_.stopped_seconds() - resumed_seconds_;
  report_.samples_per_second = static_cast<double>(samples_) / std::max(report_.seconds, 1e-9);
  report_.wire_bytes_per_step =
      mean_over_ranks(comm_, static_cast<double>(wire_bytes) / static_cast<double>(report_.steps));
  report_.exposed_communication_seconds = metrics.exposed_seconds;
  report_.weights_fingerprint = weights_fingerprint();
  report_.replicas_identical = same_on_all_ranks(comm_, report_.weights_fingerprint);
  return std::move(report_);
}

}  // namespace

TrainReport train(Communicator comm, const TrainOptions& options, const Dataset& data,
                  const ProgressCallback& progress) {
  validate(options);
  TrainingRun run(std::move(comm), options, data);
  return run.run(progress);
}

}  // namespace gradwire::trainer
