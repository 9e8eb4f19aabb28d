#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "../support/quick.hpp"
#include "../support/temporary_folder.hpp"
#include "gradwire/parameter_server.hpp"

namespace gradwire {
namespace {

/// A worker that comes while the others push gets a value and the version that this value has, though answers
/// about keys wait for the disk: what it pulls later leads it to the same bits as the others.
TEST(FirstValue, IsOfTheVersionThatIsSaid) {
  const TemporaryFolder folder;
  ParameterServerOptions options;
  options.job = "servers";
  options.snapshot_dir = folder.path().string();
  options.snapshot_every = 1;
  options.kept_versions = 1000;
  const ParameterServer server(options);
  const auto worker = [&](int number) {
    ParameterServerClientOptions client;
    client.servers = {server.address()};
    client.job = "servers";
    client.worker = number;
    client.consistency = parse_consistency("asp");
    client.push_codec = client.pull_codec = "onebit";
    return client;
  };
  constexpr std::size_t kCount = 300'000;
  ParameterServerClient first(worker(0));
  std::vector<float> value(kCount);
  first.init("key", value);
  std::atomic<bool> done{false};
  std::thread training([&] {
    std::vector<float> gradient(kCount);
    for (int step = 0; !done; ++step) {
      for (std::size_t i = 0; i < kCount; ++i) {
        gradient[i] = static_cast<float>((i * 7 + static_cast<std::size_t>(step)) % 13) - 5.0F;
      }
      first.push_pull("key", gradient, value).wait();
      first.clock();
    }
  });
  // Each new key has to be on the disk before it is answered for, so a snapshot is under way all the time.
  std::thread making([&] {
    ParameterServerClient client(worker(1));
    std::vector<float> small(16);
    for (int key = 0; !done; ++key) client.init("small " + std::to_string(key), small);
  });
  std::vector<std::vector<float>> values;
  std::vector<ParameterServerClient> others;
  for (int number = 2; number < (quick() ? 7 : 22); ++number) {
    others.emplace_back(worker(number));
    values.emplace_back(kCount);
    others.back().init("key", values.back());
  }
  done = true;
  training.join();
  making.join();
  first.flush();
  first.pull("key", value).wait();
  for (std::size_t i = 0; i < others.size(); ++i) {
    others[i].pull("key", values[i]).wait();
    EXPECT_EQ(values[i], value) << "worker " << i + 2;
  }
}

TEST(Restart, WithoutAWholeSnapshotIsRefused) {
  const TemporaryFolder folder;
  ParameterServerOptions options;
  options.snapshot_dir = folder.path().string();
  { ParameterServer(options).stop(); }
  for (const auto& file : std::filesystem::directory_iterator(folder.path())) {
    if (file.path().extension() == ".snapshot") std::filesystem::resize_file(file.path(), 20);
  }
  try {
    const ParameterServer server(options);
    ADD_FAILURE() << "it began anew";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::corrupt_frame) << error.what();
    EXPECT_THAT(error.what(),
                testing::EndsWith(
                    "is too short to be one; restore one from a copy, or begin anew in an empty folder"));
    EXPECT_THAT(error.what(), testing::Not(testing::HasSubstr("begin anew in an empty folder; ")));
    EXPECT_THAT(error.what(), testing::Not(testing::HasSubstr("go on from an older one")));
  }
}

/// A server that forgot everything is not the one that a worker dealt with, though another made its key
/// again.
TEST(Restart, AServerThatBeganAnewIsNotTakenForTheOldOne) {
  ParameterServerOptions options;
  options.job = "servers";
  std::optional<ParameterServer> server(options);
  options.address = server->address();
  ParameterServerClientOptions client;
  client.servers = {server->address()};
  client.job = "servers";
  client.workers = 2;
  client.timeout = std::chrono::seconds(20);
  ParameterServerClient old(client);
  std::vector<float> value(100, 7.0F);
  old.init("key", value);
  server.reset();
  server.emplace(options);
  client.worker = 1;
  ParameterServerClient fresh(client);
  std::vector<float> other(100);
  fresh.init("key", other);
  try {
    old.pull("key", value).wait();
    ADD_FAILURE() << "it went on with " << value[0];
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unsupported) << error.what();
  }
}

}  // namespace
}  // namespace gradwire
