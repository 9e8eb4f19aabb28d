#pragma once

#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <string>

namespace gradwire {

/// How a command of a shell ended.
struct Ended {
  int status = -1;
  std::string out;  ///< what the line left on its stdout
};

/// Runs a line in a shell, to its end.
inline Ended shell(const std::string& line) {
  Ended ended;
  FILE* const pipe = popen(line.c_str(), "r");
  if (pipe == nullptr) return ended;
  std::array<char, 4096> buffer{};
  for (std::size_t got = 1; got > 0;) {
    got = fread(buffer.data(), 1, buffer.size(), pipe);
    ended.out.append(buffer.data(), got);
  }
  const int status = pclose(pipe);
  ended.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return ended;
}

}  // namespace gradwire
