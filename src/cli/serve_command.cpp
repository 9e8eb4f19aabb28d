#include <fmt/format.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "cli/command.hpp"
#include "cli/json_text.hpp"
#include "cli/option_checks.hpp"
#include "gradwire/communicator.hpp"
#include "gradwire/parameter_server.hpp"
#include "trainer/counted.hpp"

namespace gradwire::cli {
namespace {

using trainer::counted;

constexpr const char* kFooter = R"(
Prints where it serves, and serves until SIGTERM or SIGINT: then it answers what it has been asked, writes a
last snapshot, and reports. All servers of a job are given the same --servers, and workers the addresses in the
order of --index.

Examples:
  gradwire serve --listen 127.0.0.1:7000 --snapshot-dir /var/tmp/job
  gradwire serve --listen 0.0.0.0:7000 --index 1 --servers 2 --job mnist)";

/// How often it looks whether the server has ended by itself.
constexpr timespec kLook{0, 200'000'000};

struct ServeCommand {
  ParameterServerOptions options;
  std::string job;
  double lease = 10;
  bool quiet = false;
  std::string json;
  const CLI::Option* every = nullptr;  ///< --snapshot-every
};

nlohmann::ordered_json restored_to_json(const ParameterServerReport& report) {
  if (report.restored_from.empty()) return nullptr;
  return {{"file", report.restored_from}, {"clock", report.restored_clock}, {"keys", report.restored_keys}};
}

nlohmann::ordered_json to_json(const ParameterServerReport& report) {
  return {{"pushes", report.pushes},
          {"repeated_pushes", report.repeated_pushes},
          {"refused_pushes", report.refused_pushes},
          {"pulls", report.pulls},
          {"whole_pulls", report.whole_pulls},
          {"clock", report.clock},
          {"snapshots", report.snapshots},
          {"incarnation", report.incarnation},
          {"restored", restored_to_json(report)},
          {"problems", report.problems}};
}

std::string to_table(const ParameterServerReport& report) {
  return fmt::format("{} ({} repeated, {} refused), {} ({} of the whole value), clock {}, {}\n",
                     counted(report.pushes, "push", "pushes"), report.repeated_pushes, report.refused_pushes,
                     counted(report.pulls, "pull"), report.whole_pulls, report.clock,
                     counted(report.snapshots, "snapshot"));
}

std::string greeting(const ParameterServer& server) {
  std::string text = fmt::format("serving at {}\n", server.address());
  const ParameterServerReport report = server.report();
  if (!report.restored_from.empty()) {
    text += fmt::format("going on from {}: clock {}, {}, incarnation {}\n", report.restored_from,
                        report.restored_clock, counted(report.restored_keys, "key"), report.incarnation);
  }
  return text;
}

/// To stdout, for whoever still reads it: serving and its report do not depend on that.
void print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

/// Signals that end a server are waited for: threads started after this take none of them. One whose output
/// nobody reads any more goes on.
sigset_t keep_signals() {
  std::signal(SIGPIPE, SIG_IGN);
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return signals;
}

/// A folder with another job's snapshots is no more use to the same command another time.
ParameterServer start_server(const ParameterServerOptions& options) {
  try {
    return ParameterServer(options);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::version_mismatch) throw;
    throw UsageError(error.what());
  }
}

void run(ServeCommand& command) {
  auto& options = command.options;
  options.lease = std::chrono::milliseconds(static_cast<std::int64_t>(command.lease * 1000));
  check_network(options.transport, options.link_rate);
  if (options.index >= options.servers) {
    throw UsageError(fmt::format("--index {} is too large for {}: the first one is 0", options.index,
                                 counted(static_cast<std::uint64_t>(options.servers), "server")));
  }
  if (command.every->count() > 0 && options.snapshot_dir.empty()) {
    throw UsageError("--snapshot-every needs the --snapshot-dir where snapshots go");
  }
  const auto environment = Communicator::options_from_environment();
  options.job = command.job.empty() ? environment.job : command.job;
  options.check_payload = environment.check_payload;
  const sigset_t signals = keep_signals();
  ParameterServer server = check_usage([&] { return start_server(options); });
  if (!command.quiet) print(greeting(server));
  std::size_t said = 0;
  const auto say_problems = [&](const ParameterServerReport& report) {
    for (; said < report.problems.size(); ++said) say(report.problems[said]);
  };
  while (server.is_serving() && ::sigtimedwait(&signals, nullptr, &kLook) < 0) say_problems(server.report());
  std::optional<std::string> failure;
  try {
    server.stop();
  } catch (const Error& error) {
    failure = error.what();
  }
  ParameterServerReport report = server.report();
  if (failure) report.problems.push_back(*failure);
  say_problems(report);
  const std::string json = json_text(to_json(report));
  if (command.json == "-") {
    print(json);
  } else {
    if (!command.quiet) print(to_table(report));
    if (!command.json.empty()) write_text(command.json, json);
  }
  if (failure) throw ExitStatus{kFailure};
}

}  // namespace

void add_serve_command(CLI::App& app) {
  auto* const sub = app.add_subcommand("serve", "Serve parameters to the workers of a job");
  auto command = std::make_shared<ServeCommand>();
  auto& options = command->options;
  sub->add_flag("--quiet", command->quiet, "Say nothing but what goes wrong");
  sub->add_option("--listen", options.address, "HOST:PORT to listen at; without a port any free one")
      ->transform(named())
      ->type_name("ADDRESS")
      ->capture_default_str();
  sub->add_option("--job", command->job, "Workers of other jobs are refused; GRADWIRE_JOB may name it too")
      ->type_name("NAME");
  sub->add_option("--index", options.index, "Of this server among --servers")
      ->check(CLI::Range(0, 65'535))
      ->type_name("N")
      ->capture_default_str();
  sub->add_option("--servers", options.servers, "How many the job has")
      ->check(CLI::Range(1, 65'536))
      ->type_name("N")
      ->capture_default_str();
  sub->add_option("--transport", options.transport, "auto, shm or tcp")
      ->type_name("NAME")
      ->capture_default_str();
  sub->add_option("--link-rate", options.link_rate,
                  "Make this server a host behind a link of this rate, as 100mbit or 1gbit")
      ->type_name("RATE");
  sub->add_option("--lease", command->lease,
                  "A worker unheard of for so long no longer holds back the others")
      ->check(within(0.1, 86'400))
      ->type_name("SECONDS")
      ->capture_default_str();
  sub->add_option("--kept-versions", options.kept_versions,
                  "Sealed versions kept: a worker further behind pulls the whole value")
      ->check(CLI::Range(1, 1'000'000))
      ->type_name("N")
      ->capture_default_str();
  sub->add_option("--snapshot-dir", options.snapshot_dir,
                  "Folder for snapshots, from which it goes on when restarted")
      ->transform(named())
      ->type_name("DIR");
  command->every =
      sub->add_option("--snapshot-every", options.snapshot_every, "Clocks from one snapshot to the next")
          ->transform(positive())
          ->type_name("CLOCKS")
          ->capture_default_str();
  add_json_option(*sub, command->json, "Write what was done at the end");
  sub->footer(kFooter);
  sub->callback([command] { run(*command); });
}

}  // namespace gradwire::cli
