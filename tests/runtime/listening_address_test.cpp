#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/host_address.hpp"
#include "gradwire/communicator.hpp"

// Where ranks listen for TCP when the store does not say which interface leads to the others.

namespace gradwire {
namespace {

/// Remembers what the ranks publish about themselves.
class Witness : public Store {
 public:
  void set(const std::string& key, const std::string& value) override {
    {
      const std::lock_guard lock(mutex_);
      if (key.find("/address/") != std::string::npos) records.push_back(value);
    }
    inner_->set(key, value);
  }
  std::optional<std::string> get(const std::string& key, std::chrono::milliseconds timeout) override {
    return inner_->get(key, timeout);
  }
  std::vector<std::string> records;

 private:
  std::mutex mutex_;
  std::shared_ptr<Store> inner_ = make_memory_store();
};

/// Two ranks that reduce over TCP; what they published.
std::vector<std::string> records_of_run(const std::string& url) {
  const auto witness = std::make_shared<Witness>();
  std::vector<std::thread> ranks;
  ranks.reserve(4);
  for (int rank = 0; rank < 2; ++rank) {
    ranks.emplace_back([&, rank] {
      CommunicatorOptions options;
      options.rank = rank;
      options.world_size = 2;
      options.transport = "tcp";
      options.store = witness;
      options.store_url = url;
      options.timeout = std::chrono::seconds(20);
      try {
        Communicator communicator(options);
        std::vector<float> values(100, 1.0F);
        communicator.allreduce(std::span(values), {.codec = "none"});
        EXPECT_EQ(values[0], 2.0F);
      } catch (const Error& error) {
        ADD_FAILURE() << error.what();
      }
    });
  }
  for (auto& rank : ranks) rank.join();
  return witness->records;
}

TEST(ListeningAddress, LeadsOutWhereTheStoreHasNone) {
  const std::string outward = base::outward_address();
  const std::string expected = outward.empty() ? "127.0.0.1" : outward;
  for (const char* url : {"", "file:///tmp/nowhere"}) {
    EXPECT_THAT(records_of_run(url),
                testing::AllOf(testing::SizeIs(2), testing::Each(testing::HasSubstr(expected))))
        << url;
  }
}

TEST(ListeningAddress, StaysOnTheHostWhereTheStoreDoes) {
  for (const char* url : {"unix://some-name", "tcp://127.0.0.1:1", "tcp://localhost:1"}) {
    EXPECT_THAT(
        records_of_run(url),
        testing::AllOf(testing::SizeIs(2), testing::Each(testing::AnyOf(testing::HasSubstr("127.0.0.1"),
                                                                        testing::HasSubstr("::1")))))
        << url;
  }
}

}  // namespace
}  // namespace gradwire
