#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "gradwire/parameter_server.hpp"

namespace gradwire {

/// A process of this test that runs a function and hands back what it returned. To be started while this
/// process has no threads.
class TestProcess {
 public:
  using Tell = std::function<void(const std::string&)>;

  explicit TestProcess(const std::function<void(const Tell&)>& body) {
    std::array<int, 2> ends{};
    if (::pipe(ends.data()) != 0) throw std::runtime_error("no pipe");
    pid_ = ::fork();
    if (pid_ == 0) {
      ::close(ends[0]);
      try {
        body([&](const std::string& text) {
          if (::write(ends[1], text.data(), text.size()) < 0) ::_exit(2);
        });
      } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        ::_exit(1);
      }
      ::_exit(0);
    }
    ::close(ends[1]);
    from_ = ends[0];
  }
  ~TestProcess() {
    kill();
    ::close(from_);
  }
  TestProcess(const TestProcess&) = delete;
  TestProcess& operator=(const TestProcess&) = delete;

  /// Up to and without a newline; what there was when the process ended.
  std::string read_line() const {
    std::string line;
    for (char c = 0; ::read(from_, &c, 1) == 1 && c != '\n';) line += c;
    return line;
  }
  /// SIGSTOP or SIGCONT. Nothing of the process runs any more when the former returns.
  void signal(int number) const {
    ::kill(pid_, number);
    if (number == SIGSTOP) await_stop();
  }
  /// Returns when somebody has stopped it.
  void await_stop() const { ::waitpid(pid_, nullptr, WUNTRACED); }
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(std::exchange(pid_, -1), nullptr, 0);
  }
  /// Waits for its end; whether that was a good one.
  bool join() {
    int status = -1;
    ::waitpid(std::exchange(pid_, -1), &status, 0);
    return status == 0;
  }

 private:
  pid_t pid_ = -1;
  int from_ = -1;
};

/// A server that can be killed, and started again at the same address.
class ServerProcess {
 public:
  explicit ServerProcess(ParameterServerOptions options) : options_(std::move(options)) { start(); }

  void start() {
    process_ = std::make_unique<TestProcess>([this](const auto& tell) {
      const ParameterServer server(options_);
      tell(server.address() + "\n");
      while (true) ::pause();
    });
    const std::string address = process_->read_line();
    if (address.empty()) throw std::runtime_error("the server did not start");
    options_.address = address;
  }
  void kill() { process_->kill(); }
  void signal(int number) const { process_->signal(number); }
  [[nodiscard]] const std::string& address() const noexcept { return options_.address; }

 private:
  ParameterServerOptions options_;
  std::unique_ptr<TestProcess> process_;
};

}  // namespace gradwire
