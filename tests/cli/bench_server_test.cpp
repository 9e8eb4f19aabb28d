#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "gradwire/parameter_server.hpp"
#include "tests/cli/run_program.hpp"

// `gradwire bench server`, as a user's shell runs it.
namespace gradwire::cli {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

void expect_ascending(const nlohmann::json& values, const std::vector<const char*>& names) {
  double before = 0;
  for (const char* name : names) {
    EXPECT_GE(values[name], before) << name << " in " << values;
    before = values[name];
  }
  EXPECT_GT(before, 0);
}

TEST(BenchServer, MeasuresEveryTransportCodecSizeAndOpAndWritesJsonAlone) {
  constexpr double kBytes = 524'288;
  const auto json =
      parse(gradwire("bench server --servers 2 --workers 2 --transport shm,tcp --codec none,onebit --min 4K "
                     "--max 256K --factor 64 --bytes 512K --repetitions 3 --json -"));
  const std::vector<nlohmann::json> rows = json["results"];
  ASSERT_EQ(rows.size(), 2U * 2 * 2 * 3);
  auto row = rows.begin();
  for (const std::string transport : {"shm", "tcp"}) {
    for (const std::string codec : {"none", "onebit"}) {
      for (const int bytes : {4096, 262'144}) {
        for (const std::string op : {"push", "pull", "push-pull"}) {
          const auto& result = *row++;
          SCOPED_TRACE(result.dump());
          EXPECT_EQ(result["op"], op);
          EXPECT_EQ(result["servers"], 2);
          EXPECT_EQ(result["workers"], 2);
          EXPECT_EQ(result["transport"], transport);
          EXPECT_EQ(result["codec"], codec);
          EXPECT_EQ(result["bytes"], bytes);
          EXPECT_EQ(result["keys"], kBytes / bytes);
          expect_ascending(result["time_us"], {"min", "median", "p99"});
          expect_ascending(result["latency_us"], {"p50", "p95", "p99"});
          const double seconds = result["time_us"]["median"].get<double>() * 1e-6;
          const double values = 2 * kBytes * (op == "push-pull" ? 2 : 1);
          const double rate = values / seconds * 1e-9;
          EXPECT_NEAR(result["values_GBps"], rate, 1e-6 * rate);
          const double memcpy = result["memcpy_GBps"];
          EXPECT_NEAR(result["of_memcpy"], rate / memcpy, 1e-6 * rate / memcpy);
          const double wire = result["wire_bytes"];
          EXPECT_NEAR(result["wire_GBps"], wire / seconds * 1e-9, 1e-6 * rate);
          EXPECT_GT(wire, codec == "none" ? values : values / 32);
          EXPECT_LT(wire, codec == "none" ? 1.2 * values : values / 8);
        }
      }
    }
  }
}

TEST(BenchServer, PrintsATableOfWhatWasAskedFor) {
  const Ended ended = gradwire("bench server --workers 1 --op pull --max 4K --repetitions 1");
  EXPECT_EQ(ended.status, 0);
  EXPECT_THAT(ended.out, StartsWith("transport  codec "));
  EXPECT_THAT(ended.out, HasSubstr(" pull "));
  EXPECT_EQ(std::count(ended.out.begin(), ended.out.end(), '\n'), 2) << ended.out;
}

TEST(BenchServer, StartsServersBehindSlowLinks) {
  const auto json = parse(
      gradwire("bench server --link-rate 100mbit --op push --min 1M --max 1M --bytes 1M --repetitions 1 "
               "--json -"));
  // 2 MiB of two workers into one server's link of 12.5 MB/s take 168 ms, less a burst; through the workers'
  // own links half of that.
  EXPECT_GT(json["results"][0]["time_us"]["median"], 120'000);
}

TEST(BenchServer, MeasuresServersThatRunAlready) {
  ParameterServerOptions options;
  options.job = "others";
  const ParameterServer server(options);
  const std::string line =
      "bench server --op push-pull --max 4K --repetitions 2 --json - --server-addresses " + server.address();
  // Workers that are started here, twice, and those of a launcher.
  for (int i = 0; i < 2; ++i) EXPECT_EQ(parse(gradwire(line, "GRADWIRE_JOB=others"))["results"].size(), 1U);
  const Ended launched = gradwire("run -n 2 -- '" GRADWIRE_PROGRAM "' " + line + " --job others");
  EXPECT_EQ(launched.status, 0) << launched.out;
  const std::uint64_t pushes = server.report().pushes;
  EXPECT_GT(pushes, 0U);

  const Ended stranger = gradwire(line);
  EXPECT_EQ(stranger.status, 1);
  EXPECT_THAT(stranger.out, HasSubstr("belongs to the job 'others'"));
  const Ended other_codec = gradwire(line + " --job others --codec onebit");
  EXPECT_EQ(other_codec.status, 1);
  EXPECT_THAT(other_codec.out, HasSubstr("codec onebit asked to join a job with none"));
  EXPECT_EQ(server.report().pushes, pushes);
}

TEST(BenchServer, StartsNoServersUnderALauncher) {
  const Ended ended = gradwire("run -n 2 -- '" GRADWIRE_PROGRAM "' bench server");
  EXPECT_EQ(ended.status, 2);
  EXPECT_THAT(ended.out, HasSubstr("gradwire serve"));
  const Ended more = gradwire("bench server --workers 3 --server-addresses localhost:7000",
                              "GRADWIRE_RANK=0 GRADWIRE_WORLD_SIZE=2");
  EXPECT_EQ(more.status, 2);
  EXPECT_THAT(more.out, HasSubstr("--workers 3"));
}

TEST(BenchServer, RefusesWhatNoHostCanHoldBeforeItMeasures) {
  for (const std::string sizes : {"--max 1T", "--min 1T --max 1T", "--min 8G --max 8G --bytes 1T"}) {
    const Ended ended = gradwire("bench server " + sizes);
    EXPECT_EQ(ended.status, 2) << ended.out;
    EXPECT_THAT(ended.out, StartsWith("gradwire: "));
    EXPECT_THAT(ended.out, HasSubstr("choose a smaller --max or --bytes"));
    EXPECT_THAT(ended.out, Not(HasSubstr("transport  codec "))) << "the table has begun";
  }
}

TEST(BenchServer, SaysWhomItWaitsFor) {
  const Ended ended = gradwire("bench server --max 4K --server-addresses 127.0.0.1:1", "GRADWIRE_TIMEOUT=3");
  EXPECT_EQ(ended.status, 1);
  EXPECT_THAT(ended.out, HasSubstr(": worker 0 has been waiting for server 0 (127.0.0.1:1) for "));
}

}  // namespace
}  // namespace gradwire::cli
