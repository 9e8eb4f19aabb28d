#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/command.hpp"
#include "cli/option_checks.hpp"
#include "gradwire/inspect.hpp"

namespace gradwire::cli {
namespace {

void run(const std::string& json) {
  const auto facts = inspect::build_information();
  if (!json.empty()) {
    nlohmann::ordered_json out;
    for (const auto& [name, value] : facts) out[name] = value;
    out["codecs"] = inspect::describe_codecs();
    write_text(json, out.dump(2) + "\n");
    if (json == "-") return;
  }
  std::size_t width = 0;
  for (const auto& [name, value] : facts) width = std::max(width, name.size());
  std::string text;
  for (const auto& [name, value] : facts) text += fmt::format("{:<{}}  {}\n", name, width, value);
  text += "\ncodecs\n";
  const std::string codecs = inspect::describe_codecs();
  for (std::size_t begin = 0; begin < codecs.size();) {
    const std::size_t end = std::min(codecs.find('\n', begin), codecs.size());
    text += fmt::format("  {}\n", codecs.substr(begin, end - begin));
    begin = end + 1;
  }
  write_text("-", text);
}

}  // namespace

void add_info_command(CLI::App& app) {
  auto* const sub = app.add_subcommand("info", "Say what this build can do");
  auto json = std::make_shared<std::string>();
  sub->add_option("--json", *json, "Write it to FILE, - for standard output")
      ->transform(named())
      ->type_name("FILE");
  sub->footer("\nExamples:\n  gradwire info\n  gradwire info --json -");
  sub->callback([json] { run(*json); });
}

}  // namespace gradwire::cli
