#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "gradwire/error.hpp"
#include "gradwire/parameter_server.hpp"
#include "rank_threads.hpp"
#include "trainer/straggler.hpp"
#include "trainer/training_run.hpp"

namespace gradwire::trainer {
namespace {

using testing::HasSubstr;

constexpr int kRanks = 4;

/// What `gradwire train --servers` starts as processes.
class LocalServers {
 public:
  LocalServers(int count, TrainOptions& options) {
    options.job = "modes";
    for (int i = 0; i < count; ++i) {
      ParameterServerOptions server;
      server.job = options.job;
      server.index = i;
      server.servers = count;
      servers_.emplace_back(server);
      options.modes.server_addresses.push_back(servers_.back().address());
    }
  }

 private:
  std::vector<ParameterServer> servers_;
};

TrainOptions mode_options(Mode mode) {
  TrainOptions options = small_options();
  options.mode = mode;
  options.steps = 150;
  options.sgd = {.learning_rate = 0.05F, .momentum = 0.5F, .weight_decay = 0};
  return options;
}

struct ModeCase {
  const char* name;
  Mode mode;
  std::uint64_t delay = 0;
  const char* consistency = "bsp";
};

TrainOptions options_of(const ModeCase& mode) {
  TrainOptions options = mode_options(mode.mode);
  options.modes.delay = mode.delay;
  options.modes.consistency = mode.consistency;
  options.modes.period = 5;
  options.modes.alpha = 0.2;
  return options;
}

class EveryMode : public testing::TestWithParam<ModeCase> {};
INSTANTIATE_TEST_SUITE_P(
    Modes, EveryMode,
    testing::Values(ModeCase{"allreduce", Mode::allreduce}, ModeCase{"delayed", Mode::allreduce, 1},
                    ModeCase{"bsp", Mode::server}, ModeCase{"ssp", Mode::server, 0, "ssp:2"},
                    ModeCase{"asp", Mode::server, 0, "asp"}, ModeCase{"local", Mode::local},
                    ModeCase{"bmuf", Mode::bmuf}, ModeCase{"elastic", Mode::elastic},
                    ModeCase{"groups", Mode::groups}),
    [](const auto& test) { return test.param.name; });

TEST_P(EveryMode, Learns) {
  const Dataset data = make_data();
  for (const char* codec : {"none", "onebit"}) {
    TrainOptions options = options_of(GetParam());
    options.codec = codec;
    const bool needs_servers = uses_servers(options.mode);
    const LocalServers servers(needs_servers ? 2 : 0, options);
    const TrainReport report = train_mode(kRanks, options, data);
    EXPECT_GT(report.test_accuracy, 0.9) << codec;
    EXPECT_GT(report.wire_bytes_per_step, 0) << codec;
    EXPECT_FALSE(report.alone);
    EXPECT_EQ(report.updates_lost, 0U);
    if (!needs_servers) {
      EXPECT_EQ(report.wire_bytes_received_per_step, report.wire_bytes_per_step);
      EXPECT_EQ(report.updates_applied, 0U);
      continue;
    }
    EXPECT_GT(report.wire_bytes_received_per_step, 0);
    // Six parameters, each one shard.
    const std::uint64_t workers = options.mode == Mode::groups ? kRanks / 2 : kRanks;
    const std::uint64_t clocks =
        options.mode == Mode::elastic ? options.steps / options.modes.period : options.steps;
    EXPECT_EQ(report.updates_applied, 6 * workers * clocks);
    if (options.mode == Mode::server && options.modes.consistency == std::string("bsp")) {
      EXPECT_EQ(report.max_staleness, 0U);
    }
    EXPECT_LE(report.mean_staleness, static_cast<double>(report.max_staleness));
  }
}

/// Behind links so slow that what was pushed is still being sent.
TEST_P(EveryMode, DivergenceEndsEveryRankAndNothingElse) {
  const Dataset data = make_data();
  for (const char* codec : {"none", "onebit"}) {
    TrainOptions options = options_of(GetParam());
    options.modes.period = 1;
    options.sgd.learning_rate = 1e20F;
    options.codec = codec;
    options.link_rate = "1mbit";
    const LocalServers servers(uses_servers(options.mode) ? 1 : 0, options);
    const auto outcomes = run_ranks(2, [&](Communicator comm, const ProgressCallback& progress) {
      return train(RankGroup(std::move(comm)), options, data, progress);
    });
    int diverged = 0;
    for (const auto& outcome : outcomes) {
      ASSERT_TRUE(outcome.error) << codec;
      // Of ranks that do not share their means, the first to see it leaves the other alone.
      const bool is_alone = outcome.error->code() == ErrorCode::peer_lost;
      if (!is_alone) {
        EXPECT_EQ(outcome.error->code(), ErrorCode::non_finite) << outcome.error->what();
        EXPECT_THAT(outcome.error->what(), HasSubstr(" in step ")) << codec;
        ++diverged;
      }
    }
    EXPECT_GE(diverged, 1) << codec;
  }
}

TEST_P(EveryMode, NothingOfANanReachesOthersThatGoOn) {
  const Dataset data = make_data();
  Dataset poisoned = data;
  poisoned.normalized.fill(std::numeric_limits<float>::quiet_NaN());
  TrainOptions options = options_of(GetParam());
  options.modes.group_size = 3;
  const LocalServers servers(uses_servers(options.mode) ? 1 : 0, options);
  const auto outcomes = run_ranks(3, [&](Communicator comm, const ProgressCallback& progress) {
    const bool bad = comm.rank() == 1;
    return train(RankGroup(std::move(comm)), options, bad ? poisoned : data, progress);
  });
  ASSERT_TRUE(outcomes[1].error);
  EXPECT_EQ(outcomes[1].error->code(), ErrorCode::non_finite) << outcomes[1].error->what();
  EXPECT_THAT(outcomes[1].error->what(), HasSubstr(" in step "));
  ASSERT_EQ(outcomes[0].report.has_value(), outlives_ranks(options.mode));
  EXPECT_EQ(outcomes[2].report.has_value(), outlives_ranks(options.mode));
  if (outlives_ranks(options.mode)) {
    EXPECT_GT(outcomes[0].report->test_accuracy, 0.5) << "of five classes, with two thirds of the samples";
  }
}

TEST_P(EveryMode, RanksWithDifferentOptionsAreToldSo) {
  const Dataset data = make_data();
  TrainOptions options = options_of(GetParam());
  options.modes.group_size = 3;
  const LocalServers servers(uses_servers(options.mode) ? 1 : 0, options);
  const auto told = [&](const std::string& option, const auto& change) {
    expect_errors(run_ranks(3,
                            [&](Communicator comm, const ProgressCallback& progress) {
                              TrainOptions own = options;
                              if (comm.rank() == 2) change(own);
                              return train(RankGroup(std::move(comm)), own, data, progress);
                            }),
                  ErrorCode::invalid_argument, "ranks 0 and 2 were given different " + option);
  };
  told("--batch", [](TrainOptions& own) { own.batch = 9; });
  told("--consistency", [](TrainOptions& own) { own.modes.consistency = "ssp:7"; });
  told("--push-codec", [](TrainOptions& own) { own.modes.push_codec = "fp16"; });
  told("--group-size", [](TrainOptions& own) { own.modes.group_size = 1; });
  told("--straggler", [](TrainOptions& own) { own.straggler = "0:2"; });
  told("--min-step", [](TrainOptions& own) { own.min_step_ms = 1; });
}

TEST(Modes, ServersInStepDoWhatAnAllreduceDoes) {
  const Dataset data = make_data();
  TrainOptions options = mode_options(Mode::allreduce);
  options.steps = 40;
  const TrainReport allreduce = train_mode(kRanks, options, data);
  options.mode = Mode::server;
  std::vector<std::uint64_t> fingerprints;
  for (int run = 0; run < 2; ++run) {
    TrainOptions again = options;
    const LocalServers servers(2, again);
    const TrainReport report = train_mode(kRanks, again, data);
    fingerprints.push_back(report.weights_fingerprint);
    EXPECT_NEAR(report.epochs.back().train_loss, allreduce.epochs.back().train_loss,
                1e-4 * allreduce.epochs.back().train_loss);
  }
  EXPECT_EQ(fingerprints[0], fingerprints[1]) << "the same bits in every run";
}

/// Whatever it takes to bring a group to the servers' values before.
TEST(Modes, BytesOfAStepInGroupsAreThoseOfSteps) {
  const Dataset data = make_data();
  std::vector<double> bytes;
  for (const std::uint64_t steps : {1U, 20U}) {
    TrainOptions options = mode_options(Mode::groups);
    options.steps = steps;
    const LocalServers servers(1, options);
    bytes.push_back(train_mode(2, options, data).wire_bytes_per_step);
  }
  EXPECT_NEAR(bytes[0], bytes[1], 0.01 * bytes[1]);
}

TEST(Modes, AveragingModelsEveryStepWithoutMomentumIsAveragingGradients) {
  const Dataset data = make_data(480);
  TrainOptions options = mode_options(Mode::allreduce);
  options.sgd.momentum = 0;
  options.steps = 30;
  const TrainReport gradients = train_mode(2, options, data);
  options.mode = Mode::local;
  options.modes.period = 1;
  const TrainReport models = train_mode(2, options, data);
  EXPECT_NEAR(models.epochs.back().train_loss, gradients.epochs.back().train_loss,
              1e-4 * gradients.epochs.back().train_loss);
}

TEST(Modes, RefuseWhatTheyCannotDo) {
  const auto message = [](Mode mode, const auto& change) -> std::string {
    TrainOptions options = mode_options(mode);
    change(options);
    try {
      validate(options, kRanks);
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  };
  const auto nothing = [](TrainOptions&) {};
  const auto with_servers = [](TrainOptions& o) { o.modes.server_addresses = {"127.0.0.1:1"}; };
  EXPECT_EQ(message(Mode::local, nothing), "accepted");
  EXPECT_EQ(message(Mode::server, with_servers), "accepted");
  EXPECT_THAT(message(Mode::server, nothing), HasSubstr("--mode server needs servers"));
  EXPECT_THAT(message(Mode::local, with_servers), HasSubstr("--mode local has no --server-addresses"));
  EXPECT_THAT(message(Mode::bmuf, [](TrainOptions& o) { o.checkpoint = "x"; }),
              HasSubstr("--mode bmuf has no --checkpoint"));
  EXPECT_THAT(message(Mode::allreduce,
                      [](TrainOptions& o) {
                        o.modes.delay = 1;
                        o.resume = "x";
                      }),
              HasSubstr("--delay 1 has no --resume"));
  EXPECT_THAT(message(Mode::local, [](TrainOptions& o) { o.modes.delay = 1; }), HasSubstr("has no --delay"));
  EXPECT_THAT(message(Mode::local, [](TrainOptions& o) { o.warm_start = 1; }), HasSubstr("--warm-start"));
  EXPECT_THAT(message(Mode::local, [](TrainOptions& o) { o.modes.period = 0; }), HasSubstr("--period is 0"));
  EXPECT_THAT(message(Mode::allreduce, [](TrainOptions& o) { o.straggler = "9:9:9"; }),
              HasSubstr("--straggler is '9:9:9'"));
  EXPECT_EQ(message(Mode::allreduce, [](TrainOptions& o) { o.straggler = "3:9"; }), "accepted");
  EXPECT_THAT(message(Mode::allreduce, [](TrainOptions& o) { o.straggler = "4:9"; }),
              HasSubstr("slows rank 4, and the job has 4 ranks"));
  EXPECT_THAT(message(Mode::groups,
                      [&](TrainOptions& o) {
                        with_servers(o);
                        o.modes.group_size = 5;
                      }),
              HasSubstr("--group-size is 5, and the job has 4 ranks"));
  EXPECT_EQ(message(Mode::elastic,
                    [&](TrainOptions& o) {
                      with_servers(o);
                      o.sgd.weight_decay = 0.1F;
                    }),
            "accepted");
  EXPECT_THAT(message(Mode::server,
                      [&](TrainOptions& o) {
                        with_servers(o);
                        o.sgd.weight_decay = 0.1F;
                      }),
              HasSubstr("--mode server has no --weight-decay"));
}

TEST(Straggler, Options) {
  const auto fixed = parse_straggler("2:4.5");
  EXPECT_EQ(fixed.rank, 2);
  EXPECT_EQ(fixed.factor, 4.5);
  EXPECT_EQ(fixed.probability, 0);
  const auto random = parse_straggler("random:4:0.25");
  EXPECT_EQ(random.rank, -1);
  EXPECT_EQ(random.factor, 4);
  EXPECT_EQ(random.probability, 0.25);
  EXPECT_EQ(parse_straggler("").rank, -1);
  for (const char* text :
       {"2", "2:", ":4", "2:0.5", "-1:4", "random:4", "random:4:2", "x:4", "2:4:1", "2:nan"}) {
    EXPECT_THROW((void)parse_straggler(text), Error) << text;
  }
}

}  // namespace
}  // namespace gradwire::trainer
