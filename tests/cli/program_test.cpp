#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "gradwire/inspect.hpp"
#include "tests/cli/run_program.hpp"

// The program itself, as a user's shell runs it.
namespace gradwire::cli {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

TEST(Program, HelpOfEveryCommandHasExamples) {
  for (const char* command : {"", "run", "info", "plan", "serve", "bench allreduce", "bench server"}) {
    const Ended ended = gradwire(std::string(command) + " --help");
    EXPECT_EQ(ended.status, 0) << command;
    EXPECT_THAT(ended.out, HasSubstr("Examples:\n  gradwire ")) << command;
  }
  EXPECT_THAT(gradwire("--version").out, StartsWith("gradwire 0."));
}

TEST(Program, ACommandLineThatMakesNoSenseExitsWith2) {
  for (const char* arguments : {"",
                                "frobnicate",
                                "--frobnicate",
                                "run",
                                "run -n 2",
                                "run -n 0 -- true",
                                "run -n -1 -- true",
                                "run -n two -- true",
                                "run -- true",
                                "run -n 1 --transport pigeon -- true",
                                "run -n 1 --transport inproc -- true",
                                "run -n 1 --link-rate bogus -- true",
                                "run -n 1 --link-rate 1gbit --transport shm -- true",
                                "plan",
                                "plan --ranks 0",
                                "plan --ranks 4 --rank 4",
                                "plan --ranks 4 --bytes 6",
                                "plan --ranks 4 --bytes many",
                                "plan --ranks 4 --collective all",
                                "plan --ranks 4 --codec zip",
                                "bench",
                                "bench allreduce --ranks 0",
                                "bench allreduce --ranks -3",
                                "bench allreduce --min 6",
                                "bench allreduce --min 0",
                                "bench allreduce --min 8K --max 4K",
                                "bench allreduce --factor 1",
                                "bench allreduce --factor inf",
                                "bench allreduce --seconds nan",
                                "bench allreduce --codec ''",
                                "bench allreduce --transport pigeon",
                                "bench allreduce --ranks 2 --transport shm,pigeon",
                                "bench allreduce --link-rate bogus",
                                "bench allreduce --ranks 2 --link-rate bogus",
                                "bench allreduce --ranks 2 --link-rate 1gbit --transport tcp,shm",
                                "train --transport pigeon",
                                "train --ranks 2 --transport pigeon",
                                "train --link-rate bogus",
                                "train --ranks 2 --link-rate bogus",
                                "train --algorithm star",
                                "train --batch 0",
                                "train --data cifar",
                                "train --lr -1",
                                "train --steps 0",
                                "train --steps -1",
                                "train --epochs 0",
                                "train --epochs -1",
                                "train --ranks 2 --batch -1",
                                "train --warm-start -1",
                                "train --seed -1",
                                "train --eval-every -1",
                                "train --checkpoint x --checkpoint-every -1",
                                "train --bucket-bytes -1",
                                "train --bucket-bytes -1M",
                                "train --bucket-bytes=-4",
                                "train --threads -1",
                                "train --threads 1025",
                                "train --ranks 2 --threads 100000",
                                "train --checkpoint ''",
                                "train --resume ''",
                                "train --json ''",
                                "train --data-dir ''",
                                "train --mode none",
                                "train --mode server",
                                "train --mode local --servers 2",
                                "train --mode server --servers 1 --consistency often",
                                "train --mode server --servers 1 --pull-codec zip",
                                "train --straggler 1",
                                "train --straggler 1:2",
                                "train --ranks 2 --straggler 9:3",
                                "train --ranks 2 --mode groups --servers 1 --group-size 3",
                                "train --hidden 10,,3",
                                "train --hidden 10,",
                                "train --hidden 10,x",
                                "train --ranks 2 --mode server --server-addresses localhost:99999",
                                "train --ranks 2 --mode server --server-addresses localhost",
                                "train --ranks 2 --mode server --server-addresses a:1,,b:2",
                                "train --ranks 2 --mode server --server-addresses a:1,b:2,a:1",
                                "train --mode server --server-addresses a:1 --servers 1",
                                "train --mode server --servers 1 --job j",
                                "train --mode server --server-addresses a:1 --restarts 1",
                                "train --ranks 1 --mode server --server-addresses a:1 --restarts 1",
                                "serve --index 2 --servers 2",
                                "serve --transport pigeon",
                                "serve --lease 0",
                                "serve --snapshot-every 5",
                                "serve --lease nan",
                                "serve --listen ''",
                                "serve --listen localhost:99999",
                                "serve --listen [::1",
                                "serve --listen 300.0.0.1",
                                "run -n 1 --grace nan -- true",
                                "run -n 1 --json '' -- true",
                                "info --json ''",
                                "plan --ranks 4 --json ''",
                                "plan --ranks 4 --bytes -1",
                                "plan --ranks 4 --bytes -4K",
                                "bench allreduce --json ''",
                                "bench allreduce --min -4",
                                "bench allreduce --max -4",
                                "bench allreduce --seed -1",
                                "bench allreduce --seconds 1 --repetitions 1",
                                "bench server --servers 0",
                                "bench server --workers 0",
                                "bench server --op carry",
                                "bench server --op ''",
                                "bench server --codec zip",
                                "bench server --min 6",
                                "bench server --min 8K --max 4K",
                                "bench server --bytes 0",
                                "bench server --bytes -4K",
                                "bench server --transport shm,pigeon",
                                "bench server --link-rate bogus",
                                "bench server --link-rate 1gbit --transport tcp,shm",
                                "bench server --seconds nan",
                                "bench server --server-addresses nowhere",
                                "bench server --server-addresses a:1,a:1 --codec none,onebit",
                                "bench server --server-addresses a:1, --codec none",
                                "bench server --server-addresses a:1 --servers 1",
                                "bench server --server-addresses :7000",
                                "bench server --server-addresses localhost:0",
                                "bench server --server-addresses localhost:70000",
                                "bench server --server-addresses localhost:7000 --codec none,onebit",
                                "bench server --server-addresses localhost:7000 --job ''",
                                "bench server --job default",
                                "bench server --json ''",
                                "bench server --seconds 1 --repetitions 1"}) {
    const Ended ended = gradwire(arguments);
    EXPECT_EQ(ended.status, 2) << arguments << "\n" << ended.out;
    EXPECT_THAT(ended.out, HasSubstr("--help")) << arguments;
    EXPECT_EQ(ended.out.find("--help"), ended.out.rfind("--help")) << "said once, not by each rank";
  }
  EXPECT_THAT(gradwire("frobnicate").out, HasSubstr("'frobnicate'"));
}

TEST(Program, WhatIsNotThereIsListed) {
  for (const char* arguments : {"plan --ranks 4 --algorithm star", "bench allreduce --algorithm star"}) {
    const Ended ended = gradwire(arguments);
    EXPECT_EQ(ended.status, 2);
    EXPECT_THAT(ended.out, HasSubstr("halving-doubling")) << arguments;
  }
  for (const char* arguments : {"plan --ranks 4 --codec zip", "bench allreduce --ranks 2 --codec zip"}) {
    const Ended ended = gradwire(arguments);
    EXPECT_EQ(ended.status, 2);
    EXPECT_THAT(ended.out, HasSubstr("onebit")) << arguments;
  }
  EXPECT_EQ(gradwire("info >/dev/full").status, 1);
}

TEST(Program, BadVariablesAreNamed) {
  const Ended ended = gradwire("bench allreduce", "GRADWIRE_RANK=4 GRADWIRE_WORLD_SIZE=4");
  EXPECT_EQ(ended.status, 1);
  EXPECT_THAT(ended.out, HasSubstr("GRADWIRE_RANK=4"));
  for (const char* variable : {"GRADWIRE_LINK_RATE=bogus", "GRADWIRE_TRANSPORT=pigeon"}) {
    for (const char* arguments : {"bench allreduce", "bench allreduce --ranks 2"}) {
      const Ended once = gradwire(arguments, variable);
      EXPECT_EQ(once.status, 1);
      EXPECT_THAT(once.out, HasSubstr(variable));
      EXPECT_EQ(std::count(once.out.begin(), once.out.end(), '\n'), 1) << once.out;
    }
  }
  const Ended fewer = gradwire("bench allreduce --ranks 3", "GRADWIRE_RANK=0 GRADWIRE_WORLD_SIZE=2");
  EXPECT_EQ(fewer.status, 2);
  EXPECT_THAT(fewer.out, HasSubstr("started 2 ranks"));
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // which need more themselves
TEST(Program, TooLittleMemoryIsSaid) {
  const Ended ended =
      shell("ulimit -v 1000000; '" GRADWIRE_PROGRAM "' bench allreduce --min 64G --max 64G 2>&1");
  EXPECT_EQ(ended.status, 1);
  EXPECT_THAT(ended.out, HasSubstr("gradwire: out of memory: "));
  EXPECT_THAT(ended.out, HasSubstr("--max"));
}
#endif

TEST(Program, InfoTellsWhatIsBuilt) {
  const Ended ended = gradwire("info");
  EXPECT_EQ(ended.status, 0);
  for (const char* word : {"version", "instruction set", "shm", "tcp", "ring", "onebit", "CUDA"}) {
    EXPECT_THAT(ended.out, HasSubstr(word));
  }
  const auto json = parse(gradwire("info --json -"));
  EXPECT_TRUE(json.contains("version"));
}

TEST(Program, PlanPrintsTheScheduleAndItsBytes) {
  const Ended ended = gradwire("plan --ranks 4 --algorithm ring --bytes 4K");
  EXPECT_EQ(ended.status, 0);
  EXPECT_THAT(ended.out, HasSubstr("by ring among 4 ranks: 4 chunks, 1 layer, "));
  EXPECT_THAT(gradwire("plan --ranks 1 --summary").out, HasSubstr(" among 1 rank: 1 chunk, 1 layer, "));
  EXPECT_THAT(ended.out, HasSubstr("rank  step  round  verb"));
  const auto json = parse(gradwire("plan --ranks 4 --algorithm ring --bytes 4K --json -"));
  EXPECT_EQ(json["algorithm"], "ring");
  ASSERT_EQ(json["ranks"].size(), 4U);
  std::uint64_t sent = 0;
  for (const auto& rank : json["ranks"]) sent += rank["sent_bytes"].get<std::uint64_t>();
  EXPECT_EQ(sent, 2 * 3 * 4096U);
  const Ended one = gradwire("plan --ranks 4 --algorithm ring --rank 2");
  EXPECT_THAT(one.out, HasSubstr("\n   2     0 "));
  EXPECT_THAT(one.out, testing::Not(HasSubstr("\n   1     0 ")));
}

TEST(Program, BenchChecksEveryAlgorithmAndCodecAndWritesJson) {
  const auto json =
      parse(gradwire("bench allreduce --ranks 3 --transport all --algorithm all --codec all --min 4 --max 4K "
                     "--factor 1024 --repetitions 2 --check --json -"));
  const auto info = parse(gradwire("info --json -"));
  const auto algorithms = info["algorithms"].get<std::string>();
  const auto commas = static_cast<std::size_t>(std::count(algorithms.begin(), algorithms.end(), ','));
  auto transports = inspect::transports();
  std::erase(transports, "inproc");
  std::erase(transports, "mpi");  // which has not started these ranks
  ASSERT_EQ(json["results"].size(), transports.size() * (commas + 1) * info["codecs"].size() * 2);
  for (const auto& result : json["results"]) {
    EXPECT_EQ(result["ranks"], 3);
    EXPECT_EQ(result["identical"], true) << result;
    EXPECT_EQ(result["equals_oracle"], true) << result;
    EXPECT_GT(result["time_us"]["min"], 0);
    EXPECT_LE(result["time_us"]["min"], result["time_us"]["median"]);
    EXPECT_LE(result["time_us"]["median"], result["time_us"]["p99"]);
    EXPECT_GT(result["wire_bytes_per_rank"], 0);
  }
  EXPECT_EQ(json["results"][0]["transport"], "shm");
  EXPECT_EQ(json["results"].back()["transport"], transports.back());
}

TEST(Program, BenchOfAllTransportsLeavesOutWhatThisHostLacks) {
  const auto known = inspect::transports();
  if (std::ranges::find(known, "ucx") == known.end()) GTEST_SKIP() << "built without UCX";
  const std::string command =
      "bench allreduce --ranks 2 --min 4 --max 4 --repetitions 1 --check --transport ";
  const Ended all = gradwire(command + "all", "UCX_TLS=nonesuch");
  EXPECT_EQ(all.status, 0) << all.out;
  EXPECT_THAT(all.out, HasSubstr("without ucx: unsupported: UCX"));
  EXPECT_THAT(all.out, HasSubstr("\ntcp "));
  const Ended one = gradwire(command + "tcp,ucx", "UCX_TLS=nonesuch");
  EXPECT_NE(one.status, 0) << one.out;
}

TEST(Program, BenchRunsAloneAndAveraged) {
  const auto json =
      parse(gradwire("bench allreduce --min 4K --max 4K --repetitions 2 --check --average --json -"));
  EXPECT_EQ(json["results"][0]["ranks"], 1);
  EXPECT_EQ(json["results"][0]["equals_oracle"], true);
  EXPECT_EQ(json["results"][0]["busbw_GBps"], 0);
}

TEST(Program, BenchObeysTheLaunchersEnvironmentAndTheCodecVariable) {
  const Ended ended = gradwire("run -n 2 -- '" GRADWIRE_PROGRAM
                               "' bench allreduce --codec onebit --min 4K --max 4K --repetitions 2 --check",
                               "GRADWIRE_CODEC=none");
  EXPECT_EQ(ended.status, 0) << ended.out;
  EXPECT_THAT(ended.out, HasSubstr("[0] "));
  EXPECT_THAT(ended.out, HasSubstr(" none "));
  EXPECT_THAT(ended.out, testing::Not(HasSubstr("onebit")));
}

TEST(Program, RunWritesHowRanksEnded) {
  const std::string path = testing::TempDir() + "gradwire-run-" + std::to_string(getpid()) + ".json";
  const auto run = [&](const std::string& arguments) {
    const Ended ended = gradwire("run --json " + path + " " + arguments);
    std::ifstream file(path);
    auto json = nlohmann::json::parse(file, nullptr, false);
    EXPECT_EQ(json["status"], ended.status);
    return json;
  };
  const auto good = run("-n 2 -- sleep 0.2");
  ASSERT_EQ(good["ranks"].size(), 2U);
  EXPECT_EQ(good["ranks"][1]["rank"], 1);
  EXPECT_EQ(good["ranks"][1]["status"], 0);
  EXPECT_TRUE(good["ranks"][1]["signal"].is_null());
  EXPECT_GE(good["ranks"][1]["seconds"], 0.2);
  const auto bad = run("-n 2 -- sh -c 'test $GRADWIRE_RANK = 1 && exit 7; exec sleep 60'");
  EXPECT_EQ(bad["status"], 7);
  EXPECT_EQ(bad["ranks"][1]["status"], 7);
  EXPECT_EQ(bad["ranks"][0]["status"], 128 + SIGTERM);
  EXPECT_EQ(bad["ranks"][0]["signal"], SIGTERM);
  EXPECT_EQ(run("-n 2 -- no-such-program")["ranks"].size(), 0U);
  std::filesystem::remove(path);
  std::signal(SIGPIPE, SIG_DFL);
  EXPECT_THAT(shell("'" GRADWIRE_PROGRAM "' run -n 2 --json " + path + " -- yes 2>/dev/null | head -n 1").out,
              HasSubstr("] y\n"));
  std::ifstream file(path);
  const auto unread = nlohmann::json::parse(file, nullptr, false);
  EXPECT_EQ(unread["status"], 128 + SIGPIPE);
  EXPECT_EQ(unread["ranks"].size(), 2U);
  std::filesystem::remove(path);
  EXPECT_THAT(gradwire("run -n 1 --json - -- true").out, HasSubstr("\"status\": 0"));
}

TEST(Program, AFileThatCannotBeWrittenIsRefusedBeforeTheWork) {
  for (const std::string command :
       {"run -n 1 --json FILE -- sleep 60", "bench allreduce --ranks 2 --json FILE",
        "bench server --json FILE", "plan --ranks 4 --json FILE", "info --json FILE", "train --json FILE"}) {
    for (const std::string file : {"/no/such/folder/x", "/tmp"}) {
      std::string arguments = command;
      const Ended ended = gradwire(arguments.replace(arguments.find("FILE"), 4, file));
      EXPECT_EQ(ended.status, 1) << arguments;
      EXPECT_THAT(ended.out, StartsWith("gradwire: invalid_argument: --json names '" + file)) << arguments;
    }
  }
}

TEST(Program, OutputThatCannotBeWrittenIsAFailure) {
  const std::string program = "'" GRADWIRE_PROGRAM "' ";
  for (const char* arguments : {"--help", "--version", "run --help", "run -n 2 -- echo hi"}) {
    const Ended ended = shell(program + arguments + " 2>&1 >/dev/full");
    EXPECT_EQ(ended.status, 1) << arguments;
    EXPECT_THAT(ended.out, HasSubstr("could not be written")) << arguments;
    EXPECT_EQ(std::count(ended.out.begin(), ended.out.end(), '\n'), 1) << ended.out;
  }
  EXPECT_EQ(shell(program + "run -n 2 -- sh -c 'echo hi; exit 7' 2>&1 >/dev/full").status, 7);
  // Whose reader has left has nobody to write for.
  EXPECT_EQ(shell("trap '' PIPE; { { sleep 0.2; " + program + "--help; echo $? >&3; } | true; } 3>&1").out,
            "0\n");
}

TEST(Program, ClosedStandardStreamsAreNoNumbersForOthers) {
  for (const char* closed : {"<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"}) {
    const std::string line = "timeout -s KILL 20 '" GRADWIRE_PROGRAM "' ";
    EXPECT_EQ(shell(line + "run -n 2 -- echo hi " + closed).status, 0) << closed;
    EXPECT_EQ(shell(line + "bench allreduce --ranks 2 --max 4K --repetitions 1 " + closed).status, 0)
        << closed;
  }
  EXPECT_EQ(shell("'" GRADWIRE_PROGRAM "' run -n 1 -- echo hi <&- 2>&-").out, "[0] hi\n");
}

TEST(Program, AnInterruptionEndsTheLine) {
  int terminal = -1;
  const pid_t pid = forkpty(&terminal, nullptr, nullptr, nullptr);
  if (pid == 0) {
    execl(GRADWIRE_PROGRAM, "gradwire", "bench", "allreduce", "--ranks", "2", "--min", "4", "--max", "4",
          "--seconds", "20", nullptr);
    _exit(127);
  }
  if (pid < 0) GTEST_SKIP() << "no pseudo-terminals here";
  std::string out;
  bool interrupted = false;
  std::array<char, 4096> buffer{};
  for (ssize_t got = 1; got > 0;) {
    got = read(terminal, buffer.data(), buffer.size());
    if (got > 0) out.append(buffer.data(), static_cast<std::size_t>(got));
    if (interrupted || out.find('\n') == std::string::npos) continue;
    interrupted = write(terminal, "\x03", 1) == 1;
  }
  int status = 0;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_EQ(WEXITSTATUS(status), 128 + SIGINT);
  EXPECT_THAT(out, testing::EndsWith("^C\r\n"));
  close(terminal);
}

TEST(Program, RunPassesTheProgramsArgumentsOn) {
  const Ended ended = gradwire("run -n 1 -- echo -x --ranks 3 -- a");
  EXPECT_EQ(ended.status, 0);
  EXPECT_EQ(ended.out, "[0] -x --ranks 3 -- a\n");
  EXPECT_EQ(gradwire("run -n 2 -- sh -c 'exit 9'").status, 9);
  EXPECT_EQ(gradwire("run -n 2 -- no-such-program").status, 127);
}

}  // namespace
}  // namespace gradwire::cli
