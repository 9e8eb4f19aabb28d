#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "cli/launcher.hpp"
#include "tests/support/temporary_folder.hpp"

namespace gradwire::cli {

using namespace std::chrono_literals;

/// Ranks that are shells.
inline LaunchOptions shell(int ranks, const std::string& script) {
  LaunchOptions options;
  options.ranks = ranks;
  options.command = {"sh", "-c", script};
  options.last_words = 100ms;
  return options;
}

/// A launcher in a process of its own, whose output can be read.
class Launcher {
 public:
  using Ends = std::array<int, 2>;  ///< what can be read from and what can be written to

  /// `before` is called in that process first.
  explicit Launcher(
      const LaunchOptions& options, const std::function<void()>& before = [] {})
      : Launcher(options, make_pipe(), before) {
    read_output();
  }
  /// Its output goes into `out`, and stays there until read_output().
  Launcher(
      const LaunchOptions& options, Ends out, const std::function<void()>& before = [] {}) {
    Ends err{};
    EXPECT_EQ(pipe2(err.data(), O_CLOEXEC), 0);
    pid_ = fork();
    if (pid_ == 0) {
      close(out[0]);
      dup2(out[1], STDOUT_FILENO);
      dup2(err[1], STDERR_FILENO);
      before();
      _exit(launch_local_ranks(options).status);
    }
    close(out[1]);
    close(err[1]);
    unread_ = out[0];
    readers_.emplace_back([this, fd = err[0]] { slurp(fd, err_); });
  }
  ~Launcher() {
    if (pid_ > 0) status();
  }
  Launcher(const Launcher&) = delete;
  Launcher& operator=(const Launcher&) = delete;

  static Ends make_pipe() {
    Ends ends{};
    EXPECT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
    return ends;
  }
  static Ends make_socket() {
    Ends ends{};
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    return ends;
  }

  [[nodiscard]] pid_t pid() const { return pid_; }
  void read_output() {
    readers_.emplace_back([this, fd = std::exchange(unread_, -1)] { slurp(fd, out_); });
  }

  /// Goes away, as `head` does.
  void stop_reading() { close(std::exchange(unread_, -1)); }

  /// Whether somebody stops it soon.
  [[nodiscard]] bool stopped() const {
    int status = 0;
    for (int i = 0; i < 1000 && waitpid(pid_, &status, WNOHANG | WUNTRACED) == 0; ++i) {
      std::this_thread::sleep_for(10ms);
    }
    return WIFSTOPPED(status);
  }
  /// As a shell gives it.
  int status() {
    int status = 0;
    const auto deadline = std::chrono::steady_clock::now() + 20s;
    while (waitpid(pid_, &status, WNOHANG) == 0) {
      if (std::chrono::steady_clock::now() > deadline) {
        kill(pid_, SIGKILL);
        waitpid(pid_, &status, 0);
        ADD_FAILURE() << "the launcher does not end";
        break;
      }
      std::this_thread::sleep_for(1ms);
    }
    pid_ = -1;
    if (unread_ >= 0) close(std::exchange(unread_, -1));
    for (auto& reader : readers_) reader.join();
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  [[nodiscard]] const std::string& out() const { return out_; }
  [[nodiscard]] const std::string& err() const { return err_; }
  [[nodiscard]] std::vector<std::string> lines() const {
    std::vector<std::string> lines;
    std::istringstream in(out_);
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
  }

 private:
  static void slurp(int fd, std::string& to) {
    std::array<char, 4096> buffer{};
    for (ssize_t got = 1; got > 0;) {
      got = read(fd, buffer.data(), buffer.size());
      if (got > 0) to.append(buffer.data(), static_cast<std::size_t>(got));
    }
    close(fd);
  }

  pid_t pid_ = -1;
  int unread_ = -1;
  std::string out_;
  std::string err_;
  std::vector<std::thread> readers_;
};

/// A folder in which ranks leave their traces.
class Traces {
 public:
  [[nodiscard]] std::string folder() const { return folder_.path(); }
  [[nodiscard]] long count() const {
    const std::filesystem::directory_iterator files(folder_.path());
    return std::distance(begin(files), end(files));
  }
  bool wait_for(long files) const {
    for (int i = 0; i < 1000 && count() < files; ++i) std::this_thread::sleep_for(10ms);
    return count() >= files;
  }
  /// The numbers that ranks have written into their files.
  [[nodiscard]] std::vector<pid_t> pids() const {
    std::vector<pid_t> out;
    for (const auto& file : std::filesystem::directory_iterator(folder_.path())) {
      pid_t pid = -1;
      std::ifstream(file.path()) >> pid;
      out.push_back(pid);
    }
    return out;
  }

 private:
  TemporaryFolder folder_;
};

/// As the kernel writes it, 'R', 'S', 'T' or 'Z' mostly; ' ' when there is no such process.
inline char process_state(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(stat, text);
  const auto name = text.rfind(") ");
  return name == std::string::npos ? ' ' : text.at(name + 2);
}

/// Whether the process is in one of these states, or soon gets there.
inline bool reaches(pid_t pid, const std::string& states) {
  for (int i = 0; i < 500; ++i) {
    if (states.find(process_state(pid)) != std::string::npos) return true;
    std::this_thread::sleep_for(10ms);
  }
  return false;
}

/// Whether the process has ended, or does soon. A zombie that nobody has buried yet is gone, too.
inline bool gone(pid_t pid) { return reaches(pid, " ZX"); }

}  // namespace gradwire::cli
