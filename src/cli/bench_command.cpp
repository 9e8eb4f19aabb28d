#include "cli/bench_command.hpp"

#include "cli/command.hpp"
#include "cli/option_checks.hpp"

namespace gradwire::cli {

void add_size_options(CLI::App& command, SizeOptions& options) {
  command.add_option("--min", options.min, "Smallest size in bytes: 4, 4K, 1M")
      ->transform(CLI::AsSizeValue(false))
      ->transform(not_negative())
      ->type_name("SIZE")
      ->capture_default_str();
  command.add_option("--max", options.max, "Largest size")
      ->transform(CLI::AsSizeValue(false))
      ->transform(not_negative())
      ->type_name("SIZE")
      ->capture_default_str();
  command.add_option("--factor", options.factor, "From one size to the next")
      ->type_name("F")
      ->capture_default_str();
}

void add_timing_options(CLI::App& command, TimingOptions& options) {
  auto* const repetitions = command.add_option("--repetitions", options.repetitions, "Repetitions per size")
                                ->check(CLI::Range(1, 100'000))
                                ->type_name("N");
  command.add_option("--seconds", options.seconds, "Or as many as fit into this time per size")
      ->check(within(0.001, 3600))
      ->excludes(repetitions)
      ->type_name("S")
      ->capture_default_str();
}

void add_bench_command(CLI::App& app, const std::vector<std::string>& command_line) {
  auto* const sub = app.add_subcommand("bench", "Measure collectives and parameter servers");
  sub->require_subcommand(1);
  add_bench_allreduce_command(*sub, command_line);
  add_bench_server_command(*sub, command_line);
}

}  // namespace gradwire::cli
