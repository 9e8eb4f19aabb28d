#include "trainer/train_report.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

namespace gradwire::trainer {
namespace {

TrainReport example() {
  TrainReport report;
  report.data = "mnist";
  report.widths = {784, 512, 10};
  report.ranks = 4;
  report.options.codec = "onebit";
  report.options.link_rate = "100mbit";
  report.steps = 10;
  report.epochs = {{1, 0.5, 0.75, 2.0, 2.0}, {2, 0.25, 0.875, 1.5, 3.5}};
  report.evaluations = {{5, 0.5, 0.75, 2.0}, {10, 0.25, 0.875, 3.5}};
  report.test_accuracy = 0.875;
  report.seconds = 3.5;
  report.samples_per_second = 1000;
  report.wire_bytes_per_step = 123456;
  report.wire_bytes_received_per_step = 65432;
  report.max_staleness = 3;
  report.mean_staleness = 0.5;
  report.updates_applied = 70;
  report.updates_lost = 2;
  report.exposed_communication_seconds = 1.25;
  report.replicas_identical = true;
  return report;
}

TEST(TrainReport, json_has_the_documented_fields) {
  const auto json = to_json(example());
  EXPECT_EQ(json.at("config").at("codec"), "onebit");
  EXPECT_EQ(json.at("config").at("ranks"), 4);
  for (const char* const option : {"server_addresses", "job", "snapshot_dir", "snapshot_every", "restarts"}) {
    EXPECT_TRUE(json.at("config").contains(option)) << option;
  }
  ASSERT_EQ(json.at("epochs").size(), 2U);
  const auto& epoch = json.at("epochs")[1];
  EXPECT_EQ(epoch.at("epoch"), 2);
  EXPECT_EQ(epoch.at("train_loss"), 0.25);
  EXPECT_EQ(epoch.at("test_accuracy"), 0.875);
  EXPECT_EQ(epoch.at("seconds"), 1.5);
  EXPECT_EQ(epoch.at("cumulative_seconds"), 3.5);
  EXPECT_EQ(json.at("evaluations")[0].at("step"), 5);
  const auto& last = json.at("final");
  EXPECT_EQ(last.at("test_accuracy"), 0.875);
  EXPECT_EQ(last.at("seconds"), 3.5);
  EXPECT_EQ(last.at("samples_per_second"), 1000);
  EXPECT_EQ(last.at("wire_bytes_per_step"), 123456);
  EXPECT_EQ(last.at("wire_bytes_received_per_step"), 65432);
  EXPECT_EQ(last.at("staleness").at("max"), 3);
  EXPECT_EQ(last.at("staleness").at("mean"), 0.5);
  EXPECT_EQ(last.at("updates_applied"), 70);
  EXPECT_EQ(last.at("updates_lost"), 2);
  EXPECT_EQ(last.at("alone"), false);
  EXPECT_EQ(last.at("exposed_communication_seconds"), 1.25);
  EXPECT_EQ(last.at("replicas_identical"), true);
}

TEST(TrainReport, table_shows_what_matters) {
  const std::string table = to_table(example());
  for (const char* const part :
       {"mnist", "784-512-10", "onebit", "100mbit", "87.50 %", "350.00 ms", "123456", "65432", "yes"}) {
    EXPECT_THAT(table, testing::HasSubstr(part));
  }
  EXPECT_THAT(table, testing::HasSubstr(" 4 ranks x batch"));
  TrainReport alone = example();
  alone.ranks = 1;
  EXPECT_THAT(to_table(alone), testing::HasSubstr(" 1 rank x batch"));
  TrainReport broken = example();
  broken.replicas_identical = false;
  EXPECT_THAT(to_table(broken), testing::HasSubstr("NO"));
  broken.replicas_identical.reset();
  EXPECT_TRUE(to_json(broken).at("final").at("replicas_identical").is_null());
  EXPECT_THAT(to_table(broken), testing::HasSubstr("servers lost updates"));
  broken.updates_lost = 0;
  EXPECT_THAT(to_table(broken), testing::HasSubstr("not compared"));
  broken.updates_lost = 2;
  broken.alone = true;
  broken.options.mode = Mode::server;
  for (const char* const part : {"ranks were lost", "3 at most, 0.50 in the mean", "70 applied, 2 lost"}) {
    EXPECT_THAT(to_table(broken), testing::HasSubstr(part));
  }
}

}  // namespace
}  // namespace gradwire::trainer
