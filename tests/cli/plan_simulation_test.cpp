#include <gmock/gmock.h>

#include <fstream>
#include <iterator>
#include <string>

#include "tests/cli/run_program.hpp"
#include "tests/support/temporary_folder.hpp"

// `gradwire plan --simulate`, and what it writes for SimGrid.
namespace gradwire::cli {
namespace {

using testing::HasSubstr;

constexpr const char* kSwitch = R"(<?xml version="1.0"?>
<!DOCTYPE platform SYSTEM "https://simgrid.org/simgrid.dtd">
<platform version="4.1">
  <!-- <cluster id="no" prefix="no-" suffix="" radical="0-9" speed="1Mf"/> -->
  <cluster id="hosts" prefix="host-" suffix=".switch" radical="0-2,5" speed="1Gf" bw="119.6MBps" lat="25us"/>
</platform>
)";

std::string write(const TemporaryFolder& folder, const std::string& name, const std::string& text) {
  std::string file = folder.path() / name;
  std::ofstream(file) << text;
  return file;
}

std::string read(const std::string& file) {
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(PlanSimulation, TellsTimeAndBytesOfThousandsOfRanks) {
  const Ended ended = gradwire("plan --simulate --ranks 8 --algorithm ring --bytes 4M");
  EXPECT_EQ(ended.status, 0) << ended.out;
  EXPECT_THAT(ended.out, HasSubstr("by ring among 8 ranks on 8 hosts"));
  EXPECT_THAT(ended.out, HasSubstr("every rank"));
  const auto json =
      parse(gradwire("plan --simulate --hosts 512x8 --algorithm hierarchical:ring --codec onebit "
                     "--bytes 64M --link-rate 1gbit --latency 20 --json -"));
  EXPECT_EQ(json["algorithm"], "hierarchical:ring");
  EXPECT_EQ(json["host_count"], 512);
  EXPECT_EQ(json["every_rank"], false);
  EXPECT_EQ(json["cluster"]["link_rate"], 125e6);
  EXPECT_DOUBLE_EQ(json["cluster"]["latency"], 20e-6);
  EXPECT_GT(json["seconds"], json["bound_seconds"]);
  EXPECT_GT(json["inside_bytes"], 0);
  // Between hosts the ring of 512 sends 2 * 511 times what onebit makes of 64 MiB, and headers.
  EXPECT_NEAR(json["between_bytes"].get<double>(), 2.0 * 511 * (16U << 20U) * 36 / 256, 0.15 * 2.4e9);
}

TEST(PlanSimulation, RefusesWhatMakesNoSense) {
  for (const char* arguments :
       {"--link-rate 1gbit", "--simulate --link-rate fast", "--simulate --latency -1",
        "--simulate --latency nan", "--simulate --hosts 0", "--simulate --hosts 2x", "--simulate --hosts x2",
        "--simulate --hosts 2x2x1", "--simulate --hosts 2,,2", "--simulate --hosts ,4",
        "--simulate --hosts ''", "--simulate --encode-rate 0GB", "--simulate --rank 1",
        "--simulate --summary", "--simulate --simgrid p.xml", "--simulate --traces d",
        "--simulate --algorithm star", "--simulate --cores 0",
        "--simulate --cores 2 --simgrid p.xml --traces d"}) {
    const Ended ended = gradwire(std::string("plan --ranks 4 ") + arguments);
    EXPECT_EQ(ended.status, 2) << arguments << ended.out;
  }
}

TEST(PlanSimulation, RefusesRanksThatNeitherAListNorOneHostStandsFor) {
  const Ended ended = gradwire("plan --simulate --ranks 2000 --algorithm halving-doubling");
  EXPECT_EQ(ended.status, 2);
  EXPECT_THAT(ended.out, HasSubstr("has more steps than this library lists"));
}

TEST(PlanSimulation, RefusesWhatWouldNotFitIntoMemory) {
  const Ended ended = gradwire("plan --simulate --ranks 4096 --algorithm tree --bytes 16G");
  EXPECT_EQ(ended.status, 2);
  EXPECT_THAT(ended.out, HasSubstr("use a smaller tensor"));
}

TEST(PlanSimulation, RefusesCollectivesThatAnAlgorithmDoesNotDoHoweverManyRanks) {
  for (const char* ranks : {"4", "2048"}) {
    const Ended ended = gradwire(std::string("plan --simulate --collective reduce-scatter --algorithm "
                                             "hierarchical:ring --bytes 64M --ranks ") +
                                 ranks);
    EXPECT_EQ(ended.status, 2);
    EXPECT_THAT(ended.out, HasSubstr("has no chunk for each rank"));
  }
}

TEST(PlanSimulation, LooksAtThePlatformBeforeItPrices) {
  const Ended ended =
      gradwire("plan --simulate --ranks 2000 --algorithm halving-doubling --simgrid missing.xml --traces d");
  EXPECT_THAT(ended.out, HasSubstr("missing.xml' cannot be read"));
}

TEST(PlanSimulation, WritesTracesHostsAndTheCommand) {
  const TemporaryFolder folder;
  const std::string platform = write(folder, "switch.xml", kSwitch);
  const std::string traces = folder.path() / "traces";
  const Ended ended = gradwire(
      "plan --simulate --hosts 3x2,1 --algorithm hierarchical:ring --bytes 1M "
      "--simgrid " +
      platform + " --traces " + traces);
  EXPECT_EQ(ended.status, 0) << ended.out;
  EXPECT_THAT(ended.out, HasSubstr("smpirun -np 7 -platform " + platform));
  EXPECT_EQ(read(traces + "/hosts.txt"),
            "host-0.switch\nhost-0.switch\nhost-1.switch\nhost-1.switch\nhost-2.switch\nhost-2.switch\n"
            "host-5.switch\n");
  EXPECT_THAT(read(traces + "/traces.txt"), HasSubstr(traces + "/rank-6.txt\n"));
  EXPECT_THAT(read(traces + "/rank-6.txt"), testing::StartsWith("6 init\n"));
}

TEST(PlanSimulation, TellsWhatIsWrongWithAPlatform) {
  const TemporaryFolder folder;
  const auto plan = [&](const std::string& platform, const std::string& traces) {
    return gradwire("plan --simulate --ranks 5 --bytes 64K --simgrid '" + platform + "' --traces '" + traces +
                    "'");
  };
  const std::string out = folder.path() / "out";
  EXPECT_THAT(plan(folder.path() / "missing.xml", out).out, HasSubstr("missing.xml' cannot be read"));
  EXPECT_THAT(plan(folder.path(), out).out, HasSubstr("cannot be read"));
  EXPECT_THAT(plan(write(folder, "few.xml", kSwitch), out).out, HasSubstr("has 4 hosts, and 5 are needed"));
  const std::pair<const char*, const char*> faults[] = {
      {"<platform></platform>", "has no <host>"},
      {"<host id='a' speed='1Gf'/><host id='b' speed='2Gf'/>", "several speeds"},
      {"<host id='a' speed='fast'/>", "speed 'fast'"},
      {"<host id='a' speed='-1f'/>", "speed '-1f'"},
      {"<host id='a'/>", "without 'speed'"},
      {"<host id=a speed=1f/>", "without quotes"},
      {"<host id='a' speed='1f'", "ends within a tag"},
      {"<platform version='4.1'><host id='a' speed='1f'/>", "ends before its </platform>"},
      {"<cluster prefix='a' suffix='' speed='1f' radical='3-1'/>", "radical of '3-1'"},
      {"<cluster prefix='a' suffix='' speed='1f' radical='0-99999999999'/>", "radical of"},
      {"<cluster prefix='a' suffix='' speed='1f' radical='x'/>", "'x' where a host's number"}};
  for (const auto& [text, what] : faults) {
    const Ended ended = plan(write(folder, "bad.xml", text), out);
    EXPECT_NE(ended.status, 0) << text;
    EXPECT_THAT(ended.out, HasSubstr(what)) << text;
  }
  const std::string file = write(folder, "a-file", "x");
  EXPECT_THAT(
      plan(write(folder, "many.xml", "<cluster prefix='a' suffix='' speed='1f' radical='0-9'/>"), file).out,
      HasSubstr("there is no folder"));
}

// SimGrid's fluid links and the model's queues are two ways to look at one switch.
TEST(PlanSimulation, AgreesWithSimgrid) {
  if (shell("command -v smpirun").status != 0) GTEST_SKIP() << "there is no smpirun";
  const TemporaryFolder folder;
  const std::string platform = write(folder, "switch.xml", kSwitch);
  for (const char* plan : {"--algorithm ring --codec none", "--algorithm two-shot --codec onebit",
                           "--algorithm tree --codec fp16", "--algorithm halving-doubling --codec none"}) {
    const std::string traces = folder.path() / "traces";
    const std::string arguments = "plan --simulate --ranks 4 --bytes 8M " + std::string(plan);
    const double model = parse(gradwire(arguments + " --json -"))["seconds"];
    const Ended written = gradwire(
        std::string(arguments).append(" --simgrid ").append(platform).append(" --traces ").append(traces));
    const auto command = written.out.find("smpirun ");
    ASSERT_NE(command, std::string::npos) << written.out;
    std::string line = written.out.substr(command);
    line.erase(line.find('\n'));
    const Ended replayed = shell("cd " + folder.path().string() + " && " + line + " 2>&1");
    const std::string said = "Simulation time ";
    const auto at = replayed.out.find(said);
    ASSERT_NE(at, std::string::npos) << replayed.out;
    const double simgrid = std::stod(replayed.out.substr(at + said.size()));
    EXPECT_NEAR(model, simgrid, 0.15 * simgrid) << plan;
  }
}

}  // namespace
}  // namespace gradwire::cli
