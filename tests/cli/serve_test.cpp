#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "gradwire/parameter_server.hpp"
#include "run_program.hpp"
#include "tests/support/temporary_folder.hpp"

// `gradwire serve`, as a user's shell runs it.
namespace gradwire::cli {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class Serve : public testing::Test {
 protected:
  /// Serves in the test's folder; once it does, `meanwhile` is run there, and then it is told to end.
  [[nodiscard]] Ended serve(const std::string& options, const std::string& meanwhile = ":") const {
    return shell("cd '" + folder_.path().string() +
                 "' && rm -f said && { '" GRADWIRE_PROGRAM "' serve --json report.json " + options +
                 " >said 2>&1 </dev/null & pid=$!;"
                 " until grep -qs 'serving at' said || ! kill -0 $pid 2>/dev/null; do sleep 0.02; done; " +
                 meanwhile +
                 "; kill -TERM $pid 2>/dev/null; wait $pid; status=$?; cat said; exit $status; }");
  }
  [[nodiscard]] nlohmann::json report() const {
    std::ifstream file(folder_.path() / "report.json");
    return nlohmann::json::parse(file, nullptr, false);
  }
  /// What a server of the job "first" leaves after a step.
  void leave_snapshot() const {
    ParameterServerOptions options;
    options.job = "first";
    options.snapshot_dir = (folder_.path() / "kept").string();
    ParameterServer server(options);
    ParameterServerClientOptions worker;
    worker.servers = {server.address()};
    worker.job = "first";
    {
      ParameterServerClient client(worker);
      std::vector<float> value(10);
      for (const char* key : {"one", "two"}) client.init(key, value);
      client.clock();
      client.pull("one", value).wait();
    }
    server.stop();
  }

  TemporaryFolder folder_;
};

TEST_F(Serve, ALastSnapshotThatCannotBeWrittenIsAFailure) {
  const Ended full = serve("--snapshot-dir kept", "ln -s /dev/full kept/server-0.tmp");
  EXPECT_EQ(full.status, 1) << full.out;
  EXPECT_THAT(full.out, AllOf(HasSubstr("gradwire: system: server 0 ended without its last snapshot"),
                              HasSubstr("make room in kept or give the option snapshot_dir another folder")));
  EXPECT_THAT(full.out, HasSubstr("0 pushes")) << "it reports all the same";
  EXPECT_EQ(report()["snapshots"], 0);
  EXPECT_EQ(report()["problems"].size(), 1U) << report();

  const Ended removed = serve("--snapshot-dir kept", "rm -r kept");
  EXPECT_EQ(removed.status, 1) << removed.out;
  EXPECT_THAT(removed.out, AllOf(HasSubstr("cannot create kept/server-0.tmp"),
                                 HasSubstr("check that the folder is there"), Not(HasSubstr("make room"))));
  const Ended good = serve("--snapshot-dir kept");
  EXPECT_EQ(good.status, 0);
  EXPECT_THAT(good.out, HasSubstr("clock 0, 1 snapshot\n"));
  EXPECT_EQ(report()["snapshots"], 1);
}

TEST_F(Serve, SaysFromWhichSnapshotItGoesOn) {
  EXPECT_THAT(serve("--snapshot-dir kept --job first").out, Not(HasSubstr("going on")));
  EXPECT_TRUE(report()["restored"].is_null());
  leave_snapshot();
  const Ended ended = serve("--snapshot-dir kept --job first");
  EXPECT_EQ(ended.status, 0) << ended.out;
  const auto said = report();
  const auto file = said["restored"]["file"].get<std::string>();
  EXPECT_TRUE(std::filesystem::exists(folder_.path() / file)) << file;
  EXPECT_EQ(said["restored"]["clock"], 1);
  EXPECT_EQ(said["restored"]["keys"], 2);
  EXPECT_THAT(ended.out, HasSubstr("going on from " + file + ": clock 1, 2 keys, incarnation " +
                                   std::to_string(said["incarnation"].get<std::uint64_t>()) + "\n"));
}

TEST_F(Serve, ASnapshotOfAnotherJobIsRefused) {
  leave_snapshot();
  const Ended ended = serve("--snapshot-dir kept --job second");
  EXPECT_EQ(ended.status, 2);
  EXPECT_THAT(
      ended.out,
      AllOf(HasSubstr("version_mismatch: snapshot kept/server-0.0"),
            HasSubstr(" is of the job 'first', and this server's job is 'second'; give "
                      "the option job (or GRADWIRE_JOB) the one that it is of, or the option snapshot_dir "
                      "another folder")));
  EXPECT_EQ(serve("--snapshot-dir kept --job first").status, 0) << "which is still there";
}

TEST_F(Serve, WhatNobodyReadsIsReportedInItsFileAllTheSame) {
  const Ended ended =
      shell("cd '" + folder_.path().string() +
            "' && { '" GRADWIRE_PROGRAM
            "' serve --json report.json & pid=$!;"
            " while kill -0 $pid 2>/dev/null && ! test -e closed; do sleep 0.02; done;"
            " kill -TERM $pid; wait $pid; echo $? >status; } | { head -n 1; exec <&-; touch closed; }");
  EXPECT_THAT(ended.out, HasSubstr("serving at 127.0.0.1:"));
  EXPECT_EQ(report()["pushes"], 0);
  std::ifstream file(folder_.path() / "status");
  int status = -1;
  file >> status;
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace gradwire::cli
