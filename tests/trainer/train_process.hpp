#pragma once

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>

namespace gradwire::trainer {

/// Looks until it holds; false when it does not for too long.
inline bool await(const std::function<bool()>& holds) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!holds()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

inline std::string text_of(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

/// `gradwire train` that goes on while the test does something to its processes.
class TrainProcess {
 public:
  /// What it prints goes to `output`.
  TrainProcess(std::vector<std::string> arguments, std::filesystem::path output)
      : output_(std::move(output)) {
    arguments.insert(arguments.begin(), {GRADWIRE_PROGRAM, "train"});
    std::vector<char*> pointers;
    pointers.reserve(arguments.size() + 1);
    for (auto& argument : arguments) pointers.push_back(argument.data());
    pointers.push_back(nullptr);
    posix_spawn_file_actions_t actions{};
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, output_.c_str(), O_WRONLY | O_CREAT | O_TRUNC,
                                     0600);
    posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
    const int error = ::posix_spawn(&pid_, GRADWIRE_PROGRAM, &actions, nullptr, pointers.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0) throw std::runtime_error("the program cannot be started");
  }
  ~TrainProcess() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  TrainProcess(const TrainProcess&) = delete;
  TrainProcess& operator=(const TrainProcess&) = delete;

  /// Its child that is this rank, or the server if the rank is below 0, once there is one.
  [[nodiscard]] pid_t process_of(int rank) const {
    pid_t found = -1;
    const bool is_there = await([&] {
      std::ifstream children("/proc/" + std::to_string(pid_) + "/task/" + std::to_string(pid_) + "/children");
      for (pid_t child = 0; children >> child;) {
        const std::string process = "/proc/" + std::to_string(child);
        const std::string environment = text_of(process + "/environ");
        const bool is_rank = environment.find(std::string("GRADWIRE_RANK=") + std::to_string(rank) + '\0') !=
                             std::string::npos;
        if (rank >= 0 ? is_rank
                      : text_of(process + "/cmdline").find(std::string("\0serve", 6)) != std::string::npos) {
          found = child;
        }
      }
      return found > 0;
    });
    if (!is_there) throw std::runtime_error("there is no such process");
    return found;
  }
  /// Waits for its end: as a shell gives it.
  int status() {
    int status = 0;
    const bool ended = await([&] { return ::waitpid(pid_, &status, WNOHANG) != 0; });
    if (!ended) return -1;
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  [[nodiscard]] std::string said() const { return text_of(output_); }

 private:
  std::filesystem::path output_;
  pid_t pid_ = -1;
};

}  // namespace gradwire::trainer
