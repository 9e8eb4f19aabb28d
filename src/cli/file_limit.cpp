#include "cli/file_limit.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <system_error>

namespace gradwire::cli {

rlimit make_room_for_files(rlim_t wanted) {
  rlimit before{};
  if (::getrlimit(RLIMIT_NOFILE, &before) != 0 || before.rlim_cur >= wanted) return before;
  const rlimit raised{wanted, before.rlim_max};
  if (wanted > before.rlim_max || ::setrlimit(RLIMIT_NOFILE, &raised) != 0) {
    throw std::system_error(
        EMFILE, std::generic_category(),
        fmt::format("{} open files are needed and {} allowed; start fewer ranks or raise `ulimit -Hn`",
                    wanted, before.rlim_max));
  }
  return before;
}

}  // namespace gradwire::cli
