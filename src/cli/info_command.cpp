#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "cli/command.hpp"
#include "cli/json_text.hpp"
#include "gradwire/inspect.hpp"

namespace gradwire::cli {
namespace {

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

void run(const std::string& json) {
  const auto facts = inspect::build_information();
  const auto codecs = lines_of(inspect::describe_codecs());
  if (!json.empty()) {
    nlohmann::ordered_json out;
    for (const auto& [name, value] : facts) out[name] = value;
    out["codecs"] = codecs;
    write_text(json, json_text(out));
    if (json == "-") return;
  }
  std::size_t width = 0;
  for (const auto& [name, value] : facts) width = std::max(width, name.size());
  std::string text;
  for (const auto& [name, value] : facts) text += fmt::format("{:<{}}  {}\n", name, width, value);
  text += "\ncodecs\n";
  for (const auto& codec : codecs) text += fmt::format("  {}\n", codec);
  write_text("-", text);
}

}  // namespace

void add_info_command(CLI::App& app) {
  auto* const sub = app.add_subcommand("info", "Say what this build can do");
  auto json = std::make_shared<std::string>();
  add_json_option(*sub, *json, "Write it");
  sub->footer("\nExamples:\n  gradwire info\n  gradwire info --json -");
  sub->callback([json] { run(*json); });
}

}  // namespace gradwire::cli
