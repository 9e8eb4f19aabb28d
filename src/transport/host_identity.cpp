#include "transport/host_identity.hpp"

#include <fmt/format.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "base/system_error.hpp"

namespace gradwire::transport {
namespace {

std::string boot_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  file >> id;
  return id;
}

std::string namespace_of(const char* kind) {
  struct stat status = {};
  if (::stat(fmt::format("/proc/self/ns/{}", kind).c_str(), &status) != 0) return "?";
  return fmt::format("{}:{}", status.st_dev, status.st_ino);
}

/// Clock ticks after boot; tells a process from an earlier one of the same number.
std::string start_time() {
  constexpr int kFieldsBetween =
      19;  // proc(5): starttime is field 22, and 3 is the first after the name's ')'
  std::ifstream file("/proc/self/stat");
  std::stringstream text;
  text << file.rdbuf();
  const std::string line = text.str();
  std::istringstream fields(line.substr(std::min(line.size(), line.rfind(')') + 1)));
  std::string field;
  for (int i = 0; i <= kFieldsBetween; ++i) fields >> field;
  return field;
}

}  // namespace

std::string host_identity() { return boot_id() + "/" + namespace_of("net"); }

std::string process_identity() {
  return fmt::format("{}/{}/{}/{}", boot_id(), namespace_of("pid"), ::getpid(), start_time());
}

std::uint64_t random_token() {
  std::uint64_t token = 0;
  if (::getrandom(&token, sizeof token, 0) != static_cast<ssize_t>(sizeof token)) {
    throw base::system_error("cannot get random bytes");
  }
  return token;
}

}  // namespace gradwire::transport
