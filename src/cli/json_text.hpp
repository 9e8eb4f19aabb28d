#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace gradwire::cli {

/// A document of its own. Names and folders may hold any bytes: what is not UTF-8 becomes U+FFFD.
template <typename Json>
std::string json_text(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace gradwire::cli
