#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "expect_error.hpp"
#include "gradwire/parameter_server.hpp"
#include "server_process.hpp"

// What a client says of a server that it waits for: while it does, and when it has waited for too long.
namespace gradwire {
namespace {

using namespace std::chrono_literals;
using server::expect_error;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// Longer than a client waits in silence.
constexpr auto kTimeout = 2500ms;

class ClientNotice : public testing::Test {
 protected:
  [[nodiscard]] static ParameterServerOptions server_options() {
    ParameterServerOptions options;
    options.job = "notices";
    options.lease = 300ms;
    return options;
  }
  /// One that keeps a worker also when this machine lets it wait.
  [[nodiscard]] static ParameterServerOptions patient_server() {
    ParameterServerOptions options = server_options();
    options.lease = 60s;
    return options;
  }
  [[nodiscard]] ParameterServerClientOptions client_options(const std::string& server) {
    ParameterServerClientOptions options;
    options.servers = {server};
    options.job = "notices";
    options.timeout = kTimeout;
    options.notice = [this](const std::string& notice) {
      const std::lock_guard lock(mutex_);
      notices_.push_back(notice);
    };
    return options;
  }
  [[nodiscard]] std::vector<std::string> notices() {
    const std::lock_guard lock(mutex_);
    return std::exchange(notices_, {});
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> notices_;
};

TEST_F(ClientNotice, OfAServerThatIsNotThere) {
  const auto options = client_options("127.0.0.1:1");
  expect_error(ErrorCode::timeout, "refused", [&] { const ParameterServerClient client(options); });
  EXPECT_THAT(notices(),
              ElementsAre(AllOf(HasSubstr("worker 0 has been waiting for server 0 (127.0.0.1:1) for "),
                                HasSubstr("2.5 s at most"), HasSubstr("refused"))));
}

TEST_F(ClientNotice, OfAServerThatTakesConnectionsAndNoMore) {
  const ServerProcess server(server_options());
  server.signal(SIGSTOP);
  for (const char* transport : {"shm", "tcp"}) {
    auto options = client_options(server.address());
    options.transport = transport;
    expect_error(ErrorCode::timeout, "took the connection, but does not answer",
                 [&] { const ParameterServerClient client(options); });
    EXPECT_THAT(notices(), ElementsAre(HasSubstr("took the connection, but does not answer")));
  }
}

TEST_F(ClientNotice, OfAServerThatGivesNoSignOfLife) {
  const ServerProcess server(server_options());
  ParameterServerClient client(client_options(server.address()));
  std::vector<float> value(10);
  client.init("key", value);
  server.signal(SIGSTOP);
  Work pull = client.pull("key", value);
  expect_error(ErrorCode::timeout, "it hangs or was stopped", [&] { pull.wait(); });
  EXPECT_THAT(notices(), ElementsAre(HasSubstr("it gave its last sign of life ")));
}

TEST_F(ClientNotice, IsNotOfAServerThatMakesItWaitForOthers) {
  const ParameterServer server(patient_server());
  auto options = client_options(server.address());
  options.workers = 2;
  ParameterServerClient first(options);
  options.worker = 1;
  const ParameterServerClient second(options);
  std::vector<float> value(10);
  first.init("key", value);
  std::vector<float> gradient(10);
  Work pull = first.push_pull("key", gradient, value);
  expect_error(ErrorCode::timeout, "so it waits: for another worker, most likely", [&] { pull.wait(); });
  EXPECT_THAT(notices(), IsEmpty());
}

TEST_F(ClientNotice, OfANumberThatIsTaken) {
  const ParameterServer server(patient_server());
  auto options = client_options(server.address());
  const ParameterServerClient first(options);
  options.waits_for_number = true;
  expect_error(ErrorCode::invalid_argument, "the number of worker 0 is taken",
               [&] { const ParameterServerClient second(options); });
  EXPECT_THAT(notices(), ElementsAre(HasSubstr("the number of worker 0 is taken by another process")));
}

TEST_F(ClientNotice, NamesThatMeanNothingAreNotWaitedFor) {
  const ParameterServer server(server_options());
  auto options = client_options(server.address());
  options.servers.emplace_back("server.invalid:7000");
  options.timeout = 600s;
  expect_error(ErrorCode::invalid_argument,
               "the host 'server.invalid' of server 1 (server.invalid:7000) cannot",
               [&] { const ParameterServerClient client(options); });
  EXPECT_THAT(notices(), IsEmpty());
}

}  // namespace
}  // namespace gradwire
