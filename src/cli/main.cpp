#include <fmt/format.h>

#include <cstdio>
#include <exception>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "cli/command.hpp"
#include "cli/standard_streams.hpp"
#include "gradwire/error.hpp"
#include "gradwire/version.hpp"

namespace gradwire::cli {
namespace {

constexpr const char* kFooter = R"(
Exit status: 0 all is well; 1 something failed or a check did not hold; 2 the command line makes no sense;
whoever starts ranks here returns that of the first one that failed, 128 + N for signal N.

Examples:
  gradwire info
  gradwire plan --algorithm ring --ranks 4
  gradwire bench allreduce --ranks 4 --codec none,onebit --check
  gradwire bench server --workers 4 --servers 2
  gradwire train --ranks 4 --codec onebit --link-rate 100mbit
  gradwire serve --listen 127.0.0.1:7000
  gradwire run -n 4 -- ./my_program)";

constexpr const char* kOutOfMemory =
    "out of memory: this host has too little for what was asked for; "
    "choose smaller sizes (--max, --bytes, --hidden, --batch) or start fewer ranks on it";

bool has_command(CLI::App& app, const std::string& name) {
  const auto matches =
      app.get_subcommands([&](const CLI::App* command) { return command->get_name() == name; });
  return !matches.empty();
}

int run(int argc, char** argv) {
  CLI::App app("Gradients over links that are too slow for them: compressed allreduce with error feedback",
               "gradwire");
  app.set_version_flag("--version", std::string("gradwire " GRADWIRE_VERSION));
  app.require_subcommand(1);
  app.footer(kFooter);
  add_run_command(app);
  const std::vector<std::string> command_line(argv, argv + argc);
  add_bench_command(app, command_line);
  add_train_command(app, command_line);
  add_serve_command(app);
  add_plan_command(app);
  add_info_command(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::RequiredError& error) {
    if (argc > 1 && argv[1][0] != '-' && !has_command(app, argv[1])) {
      say(fmt::format("there is no command '{}'\nRun with --help for more information.", argv[1]));
      return kUsage;
    }
    return app.exit(error) == 0 ? 0 : kUsage;
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsage;
  } catch (const ExitStatus& exit) {
    return exit.status;
  } catch (const UsageError& error) {
    say(fmt::format("{}\nRun with --help for more information.", error.what()));
    return kUsage;
  } catch (const std::bad_alloc&) {
    say(kOutOfMemory);
    return kFailure;
  } catch (const std::length_error&) {
    say(kOutOfMemory);
    return kFailure;
  } catch (const std::exception& error) {
    say(error.what());
    return kFailure;
  }
  return 0;
}

}  // namespace
}  // namespace gradwire::cli

int main(int argc, char** argv) {
  using gradwire::cli::kFailure;
  gradwire::cli::fill_standard_streams();
  try {
    const int status = gradwire::cli::run(argc, argv);
    if (status != 0 || gradwire::cli::standard_output_written()) return status;
    gradwire::cli::say("standard output could not be written; send it to where there is room");
    return kFailure;
  } catch (...) {
    std::fputs("gradwire: out of memory\n", stderr);
    return kFailure;
  }
}
