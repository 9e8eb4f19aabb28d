#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <thread>

#include "directory_store.hpp"
#include "mesh.hpp"
#include "transport/address_record.hpp"
#include "transport/host_identity.hpp"
#include "transport/ucx/ucx_library.hpp"
#include "transport/ucx/ucx_transport.hpp"

// What may be wrong before ranks are connected by UCX.

namespace gradwire::transport {
namespace {

using std::chrono::seconds;
using testing::HasSubstr;

const Flavor kUcx{"ucx", "ucx"};

/// What each of two ranks throws that may use these transports of UCX alone.
std::vector<std::optional<Error>> errors_with(const char* ucx_tls) {
  ::setenv("UCX_TLS", ucx_tls, 1);
  const auto begin = Clock::now();
  auto errors = run_ranks(kUcx, 2, [](int, Endpoint&) { ADD_FAILURE() << "connected"; });
  ::unsetenv("UCX_TLS");
  EXPECT_LT(Clock::now() - begin, seconds(20));
  return errors;
}

TEST(UcxSetup, AVersionIsKnown) { EXPECT_THAT(ucx_information(), testing::StartsWith("1.")); }

TEST(UcxSetup, TransportsThatDoNotReachThePeerAreAnErrorThatNamesIt) {
  const auto errors = errors_with("self");
  int named = 0;
  for (const auto& error : errors) {
    ASSERT_TRUE(error);
    EXPECT_EQ(error->code(), ErrorCode::unsupported) << error->what();
    EXPECT_THAT(error->what(), HasSubstr("UCX finds no way from rank"));
    EXPECT_THAT(error->what(), HasSubstr("UCX_TLS"));
    named += error->peer() ? 1 : 0;
  }
  EXPECT_GE(named, 1);
}

TEST(UcxSetup, TransportsThatDoNotExistAreAnError) {
  for (const auto& error : errors_with("nonsense")) {
    ASSERT_TRUE(error);
    EXPECT_EQ(error->code(), ErrorCode::unsupported) << error->what();
    EXPECT_THAT(error->what(), HasSubstr("UCX_TLS"));
  }
}

TEST(UcxSetup, HostsAreKnown) {
  expect_ranks({.name = "ucx", .kind = "ucx", .ranks_per_host = 2}, 3,
               [](int, Endpoint& endpoint) { EXPECT_THAT(endpoint.hosts(), testing::ElementsAre(0, 0, 1)); });
}

TEST(UcxSetup, ALinkRateIsRefused) {
  auto options = options_for(kUcx, 0, 2);
  options.link_rate = 1e6;
  EXPECT_THROW(check(options), Error);
}

/// Connects rank 0 with a rank 1 that has published this.
std::optional<Error> meet(const std::function<void(AddressRecord&)>& change) {
  DirectoryStore store;
  AddressRecord record;
  record.world_size = 2;
  record.token = 5;
  record.host = host_identity();
  record.group = record.host;
  record.ucx_version = UcxLibrary::get().version();
  record.ucx_address = "nowhere";
  change(record);
  store.set("gradwire/conformance/7/address/1", write_record(record));
  const auto begin = Clock::now();
  try {
    connect(options_for(kUcx, 0, 2), store);
  } catch (const Error& error) {
    EXPECT_LT(Clock::now() - begin, seconds(20));
    return error;
  }
  return std::nullopt;
}

TEST(UcxSetup, AnotherVersionIsRefused) {
  const auto error = meet([](AddressRecord& record) { record.ucx_version = "0.9.1"; });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::version_mismatch) << error->what();
  EXPECT_EQ(error->peer(), 1);
  EXPECT_THAT(error->what(), HasSubstr("rank 1 has UCX 0.9.1, rank 0 has 1."));
}

TEST(UcxSetup, ARankWithAnotherTransportIsRefused) {
  const auto error = meet([](AddressRecord& record) { record.ucx_address = ""; });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::invalid_argument) << error->what();
  EXPECT_EQ(error->peer(), 1);
  EXPECT_THAT(error->what(), HasSubstr("does not use UCX"));
}

}  // namespace
}  // namespace gradwire::transport
