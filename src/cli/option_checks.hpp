#pragma once

#include <CLI/CLI.hpp>

namespace gradwire::cli {

/// For options that count: refuses what is below 0, which would become a huge number. To be added with
/// transform(), and after every other transform, so that it sees what has been typed.
CLI::Validator not_negative();
/// The same, and refuses 0.
CLI::Validator positive();
/// For options that name a file or folder: refuses "", which is what a variable that is not set leaves.
CLI::Validator named();

}  // namespace gradwire::cli
