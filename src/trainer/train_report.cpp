#include "trainer/train_report.hpp"

#include <fmt/format.h>

#include <iterator>
#include <nlohmann/json.hpp>

#include "trainer/counted.hpp"
#include "trainer/joined.hpp"

namespace gradwire::trainer {

namespace {

double milliseconds_per_step(const TrainReport& report) {
  return report.steps == 0 ? 0 : 1e3 * report.seconds / static_cast<double>(report.steps);
}

nlohmann::json replicas_json(const TrainReport& report) {
  if (!report.replicas_identical) return nullptr;
  return *report.replicas_identical;
}

const char* replicas_text(const TrainReport& report) {
  if (report.replicas_identical) return *report.replicas_identical ? "yes" : "NO";
  if (report.alone) return "unknown: ranks were lost, and this one speaks for itself";
  if (report.updates_lost > 0) return "unknown: servers lost updates that some ranks may have seen";
  return "not compared: in this mode each rank has weights of its own";
}

nlohmann::json config_json(const TrainReport& report) {
  const TrainOptions& o = report.options;
  return {
      {"data", report.data},
      {"ranks", report.ranks},
      {"widths", report.widths},
      {"hidden", o.hidden},
      {"batch", o.batch},
      {"lr", o.sgd.learning_rate},
      {"momentum", o.sgd.momentum},
      {"weight_decay", o.sgd.weight_decay},
      {"epochs", o.epochs},
      {"steps", o.steps},
      {"seed", o.seed},
      {"mode", to_string(o.mode)},
      {"delay", o.modes.delay},
      {"period", o.modes.period},
      {"alpha", o.modes.alpha},
      {"group_size", o.modes.group_size},
      {"consistency", o.modes.consistency},
      {"push_codec", o.modes.push_codec},
      {"pull_codec", o.modes.pull_codec},
      {"server_addresses", o.modes.server_addresses},
      {"job", o.job},
      {"snapshot_dir", o.snapshot_dir},
      {"snapshot_every", o.snapshot_every},
      {"restarts", o.restarts},
      {"rejoin", o.rejoin},
      {"straggler", o.straggler},
      {"min_step_ms", o.min_step_ms},
      {"codec", o.codec},
      {"algorithm", o.algorithm},
      {"error_feedback", o.error_feedback},
      {"warm_start", o.warm_start},
      {"overlap", o.overlap},
      {"bucket_bytes", o.bucket_bytes},
      {"eval_every", o.eval_every},
      {"checkpoint", o.checkpoint},
      {"checkpoint_every", o.checkpoint_every},
      {"resume", o.resume},
      {"transport", o.transport},
      {"link_rate", o.link_rate},
      {"device", o.device},
      {"threads", report.threads},
  };
}

}  // namespace

nlohmann::json to_json(const TrainReport& report) {
  nlohmann::json epochs = nlohmann::json::array();
  for (const auto& e : report.epochs) {
    epochs.push_back({{"epoch", e.epoch},
                      {"train_loss", e.train_loss},
                      {"test_accuracy", e.test_accuracy},
                      {"seconds", e.seconds},
                      {"cumulative_seconds", e.cumulative_seconds}});
  }
  nlohmann::json evaluations = nlohmann::json::array();
  for (const auto& e : report.evaluations) {
    evaluations.push_back({{"step", e.step},
                           {"train_loss", e.train_loss},
                           {"test_accuracy", e.test_accuracy},
                           {"seconds", e.seconds}});
  }
  return {
      {"config", config_json(report)},
      {"epochs", std::move(epochs)},
      {"evaluations", std::move(evaluations)},
      {"final",
       {{"test_accuracy", report.test_accuracy},
        {"seconds", report.seconds},
        {"steps", report.steps},
        {"samples_per_second", report.samples_per_second},
        {"wire_bytes_per_step", report.wire_bytes_per_step},
        {"wire_bytes_received_per_step", report.wire_bytes_received_per_step},
        {"staleness", {{"max", report.max_staleness}, {"mean", report.mean_staleness}}},
        {"updates_applied", report.updates_applied},
        {"updates_lost", report.updates_lost},
        {"alone", report.alone},
        {"exposed_communication_seconds", report.exposed_communication_seconds},
        {"replicas_identical", replicas_json(report)},
        {"weights_fingerprint", fmt::format("{:016x}", report.weights_fingerprint)}}},
  };
}

std::string to_table(const TrainReport& report) {
  const TrainOptions& o = report.options;
  std::string text;
  const auto out = std::back_inserter(text);
  fmt::format_to(out, "{}, MLP {}, {} x batch {}, on {}, mode {}, codec {}, algorithm {}{}\n\n", report.data,
                 joined(report.widths, "-"), counted(static_cast<std::uint64_t>(report.ranks), "rank"),
                 o.batch, o.device, to_string(o.mode), o.codec, o.algorithm,
                 o.link_rate.empty() ? "" : ", links of " + o.link_rate);
  fmt::format_to(out, "  {:>5}  {:>10}  {:>13}  {:>8}  {:>8}\n", "epoch", "train loss", "test accuracy",
                 "seconds", "in all");
  for (const auto& e : report.epochs) {
    fmt::format_to(out, "  {:>5}  {:>10.4f}  {:>11.2f} %  {:>8.2f}  {:>8.2f}\n", e.epoch, e.train_loss,
                   100 * e.test_accuracy, e.seconds, e.cumulative_seconds);
  }
  fmt::format_to(out, "\n  {:<22}{:.2f} %\n", "test accuracy", 100 * report.test_accuracy);
  fmt::format_to(out, "  {:<22}{:.2f} ms, of which {:.2f} ms waiting for others\n", "a step takes",
                 milliseconds_per_step(report),
                 report.steps == 0
                     ? 0.0
                     : 1e3 * report.exposed_communication_seconds / static_cast<double>(report.steps));
  fmt::format_to(out, "  {:<22}{:.0f}\n", "samples a second", report.samples_per_second);
  fmt::format_to(out, "  {:<22}{:.0f} bytes sent by each rank, {:.0f} received\n", "a step costs",
                 report.wire_bytes_per_step, report.wire_bytes_received_per_step);
  if (uses_servers(o.mode)) {
    fmt::format_to(out, "  {:<22}{} at most, {:.2f} in the mean\n", "clocks of staleness",
                   report.max_staleness, report.mean_staleness);
    fmt::format_to(out, "  {:<22}{} applied, {} lost\n", "updates of shards", report.updates_applied,
                   report.updates_lost);
  }
  fmt::format_to(out, "  {:<22}{}\n", "replicas identical", replicas_text(report));
  return text;
}

}  // namespace gradwire::trainer
