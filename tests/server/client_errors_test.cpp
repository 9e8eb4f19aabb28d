#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "expect_error.hpp"
#include "servers.hpp"

// Who asks for what cannot be is told what was wrong, and nobody else notices.
namespace gradwire {
namespace {

using server::expect_error;

class ClientErrors : public testing::Test {
 protected:
  ClientErrors() { client_.init("key", value_); }
  /// The worker that behaves goes on.
  void TearDown() override {
    std::vector<float> ones(value_.size(), 1.0F);
    const float before = value_[0];
    Work work = client_.push_pull("key", ones, value_);
    client_.clock();
    work.wait();
    EXPECT_FLOAT_EQ(value_[0], before - 0.1F);
  }
  /// A worker beyond those the job began with, gone again afterwards.
  void as_another(const std::function<void(ParameterServerClient&)>& body) const {
    ParameterServerClient client(servers_.client(1, 1));
    body(client);
  }
  void expect_refused_at_the_door(ErrorCode code, const std::string& part,
                                  const std::function<void(ParameterServerClientOptions&)>& change) const {
    auto options = servers_.client(1, 1);
    options.timeout = std::chrono::milliseconds(300);
    change(options);
    expect_error(code, part, [&] { ParameterServerClient client(options); });
  }

  const Servers servers_{2};
  ParameterServerClient client_{servers_.client(0, 1)};
  std::vector<float> value_ = std::vector<float>(40'000);
};

TEST_F(ClientErrors, KeysThatWereNotMade) {
  std::vector<float> other(3);
  expect_error(ErrorCode::invalid_argument, "'other' is not known to this client; call init()",
               [&] { (void)client_.push("other", other); });
  expect_error(ErrorCode::invalid_argument, "'other' is not known to this client; call init()",
               [&] { (void)client_.pull("other", other); });
}

TEST_F(ClientErrors, TensorsThatAreOnADevice) {
  const Tensor tensor(value_.data(), value_.size(), DType::float32, Device::cuda(1));
  const char* words = "CUDA device 1; copy it to the host";
  expect_error(ErrorCode::unsupported, words, [&] { client_.init("other", tensor); });
  expect_error(ErrorCode::unsupported, words, [&] { (void)client_.push("key", tensor); });
  expect_error(ErrorCode::unsupported, words, [&] { (void)client_.pull("key", tensor); });
  expect_error(ErrorCode::unsupported, words, [&] { (void)client_.push_pull("key", value_, tensor); });
}

TEST_F(ClientErrors, KeysThatServersCannotBeToldOf) {
  std::vector<float> other(3);
  expect_error(ErrorCode::invalid_argument, "name of 0 bytes", [&] { client_.init("", other); });
  expect_error(ErrorCode::invalid_argument, "name of 256 bytes",
               [&] { client_.init(std::string(256, 'k'), other); });
  expect_error(ErrorCode::invalid_argument, "optimizer",
               [&] { client_.init("other", other, {.optimizer = std::string(300, 'm')}); });
  client_.init(std::string(255, 'k'), other);
  client_.init("other", other, {.optimizer = "sgd:lr=0.1" + std::string(300, '0')});
}

TEST_F(ClientErrors, SizesAndTypesThatDoNotFit) {
  std::vector<float> shorter(39'999);
  expect_error(ErrorCode::invalid_argument, "has 40000 elements of float32, and was given 39999 of float32",
               [&] { (void)client_.push("key", shorter); });
  std::vector<std::uint16_t> half(40'000);
  expect_error(ErrorCode::invalid_argument, "gradient and values of 'key' overlap",
               [&] { static_cast<void>(client_.push_pull("key", value_, value_)); });
  expect_error(ErrorCode::invalid_argument, "was given 40000 of float16",
               [&] { (void)client_.pull("key", Tensor(half.data(), half.size(), DType::float16)); });
}

TEST_F(ClientErrors, InitsThatDiffer) {
  as_another([](auto& client) {
    std::vector<float> longer(40'016);
    expect_error(ErrorCode::invalid_argument,
                 "key 'key' has 40016 elements here, and 40000 where it was made known",
                 [&] { client.init("key", longer); });
  });
  as_another([](auto& client) {
    std::vector<float> same(40'000);
    expect_error(ErrorCode::invalid_argument, "has optimizer 'adam",
                 [&] { client.init("key", same, {.optimizer = "adam"}); });
  });
  as_another([](auto& client) {
    std::vector<float> fresh(10);
    expect_error(ErrorCode::invalid_argument, "there is none named 'magic'; allowed",
                 [&] { client.init("fresh", fresh, {.optimizer = "magic"}); });
  });
}

TEST_F(ClientErrors, OptionsUnlikeThoseOfTheJob) {
  expect_refused_at_the_door(ErrorCode::version_mismatch,
                             "belongs to the job 'servers', this rank to 'another'",
                             [](auto& options) { options.job = "another"; });
  expect_refused_at_the_door(ErrorCode::invalid_argument, "codec",
                             [](auto& options) { options.push_codec = "onebit"; });
  expect_refused_at_the_door(ErrorCode::invalid_argument, "asp",
                             [](auto& options) { options.consistency = parse_consistency("asp"); });
  expect_refused_at_the_door(ErrorCode::invalid_argument, "worker 0 is taken",
                             [](auto& options) { options.worker = 0; });
  expect_refused_at_the_door(ErrorCode::invalid_argument, "order of their indices",
                             [](auto& options) { std::swap(options.servers[0], options.servers[1]); });
}

TEST_F(ClientErrors, TheServerOfAnotherJobIsTheErrorsPeer) {
  const ParameterServer other({.job = "another"});
  for (const std::string transport : {"shm", "tcp"}) {
    for (std::size_t server = 0; server < 2; ++server) {
      auto options = servers_.client(1, 1);
      options.transport = transport;
      options.servers[server] = other.address();
      try {
        const ParameterServerClient client(options);
        ADD_FAILURE() << "it was let in";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::version_mismatch) << error.what();
        EXPECT_EQ(error.peer(), static_cast<int>(server)) << error.what();
        EXPECT_EQ(std::string(error.what()).find("--"), std::string::npos) << error.what();
      }
    }
  }
}

TEST_F(ClientErrors, FirstValuesThatAreNotFinite) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), kInfinity, -kInfinity}) {
    std::vector<float> fresh(40'000);
    fresh.back() = bad;
    expect_error(ErrorCode::non_finite, "first values of 'fresh'", [&] { client_.init("fresh", fresh); });
    as_another([&](auto& client) {
      std::vector<float> known(value_.size(), bad);
      expect_error(ErrorCode::non_finite, "first values of 'key'", [&] { client.init("key", known); });
    });
  }
  std::vector<float> finite(30'000, 1.0F);
  client_.init("fresh", finite);  // the servers have heard of no other size
}

TEST_F(ClientErrors, TimeoutsThatAreNoTime) {
  for (const int timeout : {0, -1}) {
    expect_refused_at_the_door(ErrorCode::invalid_argument, "timeout that is not positive",
                               [&](auto& options) { options.timeout = std::chrono::milliseconds(timeout); });
  }
  auto options = servers_.client(1, 1);
  options.timeout = std::chrono::milliseconds::max();
  ParameterServerClient client(options);
  std::vector<float> value(40'000);
  client.init("key", value);
}

TEST_F(ClientErrors, AServerThatIsNotThereIsNamed) {
  expect_refused_at_the_door(ErrorCode::timeout, "127.0.0.1:1",
                             [](auto& options) { options.servers[1] = "127.0.0.1:1"; });
}

TEST_F(ClientErrors, GradientsThatAreNotFinite) {
  auto options = servers_.client(0, 1);
  const Servers others(1);
  options.servers = {others.servers[0].address()};
  options.push_codec = "onebit";
  ParameterServerClient client(options);
  std::vector<float> value(1000);
  client.init("key", value);
  std::vector<float> gradient(1000, 1.0F);
  gradient[7] = std::numeric_limits<float>::quiet_NaN();
  expect_error(ErrorCode::non_finite, "a NaN or infinity is in the gradient of 'key'",
               [&] { (void)client.push("key", gradient); });
}

TEST_F(ClientErrors, PushesToAStepThatIsOver) {
  std::vector<float> nothing(40'000);
  Work pull = client_.push_pull("key", nothing, value_);
  pull.wait();
  expect_error(ErrorCode::invalid_argument, "has finished that step", [&] {
    Work push = client_.push("key", nothing);
    push.wait();
  });
  client_.clock();
}

}  // namespace
}  // namespace gradwire
