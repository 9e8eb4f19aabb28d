#include "transport/host_identity.hpp"

#include <fmt/format.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <charconv>
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
std::string start_time(const std::string& process) {
  constexpr int kFieldsBetween =
      19;  // proc(5): starttime is field 22, and 3 is the first after the name's ')'
  std::ifstream file("/proc/" + process + "/stat");
  std::stringstream text;
  text << file.rdbuf();
  const std::string line = text.str();
  std::istringstream fields(line.substr(std::min(line.size(), line.rfind(')') + 1)));
  std::string field;
  for (int i = 0; i <= kFieldsBetween; ++i) fields >> field;
  return field;
}

/// What processes have in common that know each other by number.
std::string place_of_processes() { return fmt::format("{}/{}/", boot_id(), namespace_of("pid")); }

}  // namespace

std::string host_identity() { return boot_id() + "/" + namespace_of("net"); }

std::string process_identity() {
  return fmt::format("{}{}/{}", place_of_processes(), ::getpid(), start_time("self"));
}

base::UniqueFd watch_process(const std::string& identity) {
  const std::string place = place_of_processes();
  const std::size_t number_end = identity.rfind('/');
  if (!identity.starts_with(place) || number_end < place.size() || identity == process_identity()) return {};
  const std::string number = identity.substr(place.size(), number_end - place.size());
  pid_t process = 0;
  const auto [rest, problem] = std::from_chars(number.data(), number.data() + number.size(), process);
  if (problem != std::errc{} || rest != number.data() + number.size() || process <= 0) return {};
  base::UniqueFd watched(static_cast<int>(::syscall(SYS_pidfd_open, process, 0)));
  // The number may have gone to another one meanwhile.
  if (start_time(number) != identity.substr(number_end + 1)) return {};
  return watched;
}

std::uint64_t random_token() {
  std::uint64_t token = 0;
  if (::getrandom(&token, sizeof token, 0) != static_cast<ssize_t>(sizeof token)) {
    throw base::system_error("cannot get random bytes");
  }
  return token;
}

}  // namespace gradwire::transport
