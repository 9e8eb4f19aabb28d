#pragma once

#include <sys/resource.h>

namespace gradwire::cli {

/// Lets this process have so many open files, and returns the limit that was before. Throws
/// std::system_error(EMFILE) when it may not.
rlimit make_room_for_files(rlim_t wanted);

}  // namespace gradwire::cli
