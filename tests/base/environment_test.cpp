#include "base/environment.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "gradwire/error.hpp"

namespace gradwire::base {
namespace {

using testing::HasSubstr;
using Variables = std::map<std::string, std::string>;

Environment read(const Variables& variables) {
  return Environment::read([&](const char* name) -> const char* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

std::string refusal(const Variables& variables) {
  try {
    read(variables);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    return error.what();
  }
  return "no error";
}

TEST(Environment, NothingSetIsARankAlone) {
  const auto environment = read({});
  EXPECT_EQ(environment.launcher, Launcher::none);
  EXPECT_EQ(environment.rank, 0);
  EXPECT_EQ(environment.world_size, 1);
  EXPECT_EQ(environment.job, "default");
  EXPECT_EQ(environment.transport, "auto");
  EXPECT_EQ(environment.timeout, std::chrono::minutes(5));
  EXPECT_EQ(environment.connections, 1);
  EXPECT_FALSE(environment.check);
  EXPECT_EQ(environment.codec, "");
}

TEST(Environment, OurOwnVariablesComeFirst) {
  const auto environment = read({{"GRADWIRE_RANK", "2"},
                                 {"GRADWIRE_WORLD_SIZE", "3"},
                                 {"RANK", "5"},
                                 {"WORLD_SIZE", "9"},
                                 {"GRADWIRE_JOB", "j"},
                                 {"GRADWIRE_STORE", "tcp://h:1"},
                                 {"GRADWIRE_TRANSPORT", "tcp"},
                                 {"GRADWIRE_INTERFACE", "eth0"},
                                 {"GRADWIRE_LINK_RATE", "1gbit"},
                                 {"GRADWIRE_CODEC", "none"},
                                 {"GRADWIRE_CHECK", "1"},
                                 {"GRADWIRE_HOSTID", "a"},
                                 {"GRADWIRE_TIMEOUT", "2.5"},
                                 {"GRADWIRE_CONNECTIONS", "4"}});
  EXPECT_EQ(environment.launcher, Launcher::gradwire);
  EXPECT_EQ(environment.rank, 2);
  EXPECT_EQ(environment.world_size, 3);
  EXPECT_EQ(environment.job, "j");
  EXPECT_EQ(environment.store_url, "tcp://h:1");
  EXPECT_EQ(environment.transport, "tcp");
  EXPECT_EQ(environment.interface, "eth0");
  EXPECT_EQ(environment.link_rate, "1gbit");
  EXPECT_EQ(environment.codec, "none");
  EXPECT_TRUE(environment.check);
  EXPECT_EQ(environment.host_id, "a");
  EXPECT_EQ(environment.timeout, std::chrono::milliseconds(2500));
  EXPECT_EQ(environment.connections, 4);
}

TEST(Environment, TorchrunNamesTheJobByItsAgentsPort) {
  Variables variables{{"RANK", "1"},
                      {"WORLD_SIZE", "4"},
                      {"LOCAL_RANK", "1"},
                      {"LOCAL_WORLD_SIZE", "2"},
                      {"MASTER_ADDR", "node7"},
                      {"MASTER_PORT", "29501"},
                      {"TORCHELASTIC_RUN_ID", "none"}};
  const auto one = read(variables);
  EXPECT_EQ(one.launcher, Launcher::torchrun);
  EXPECT_EQ(one.rank, 1);
  EXPECT_EQ(one.world_size, 4);
  EXPECT_EQ(one.local_rank, 1);
  EXPECT_EQ(one.local_size, 2);
  EXPECT_EQ(one.master_address, "node7");
  EXPECT_EQ(one.master_port, 29501);
  variables["MASTER_PORT"] = "29502";
  EXPECT_NE(read(variables).job, one.job);
}

TEST(Environment, MpirunAndSrun) {
  const auto mpi = read({{"OMPI_COMM_WORLD_RANK", "3"},
                         {"OMPI_COMM_WORLD_SIZE", "4"},
                         {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                         {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"},
                         {"PMIX_NAMESPACE", "1234"}});
  EXPECT_EQ(mpi.launcher, Launcher::open_mpi);
  EXPECT_EQ(mpi.rank, 3);
  EXPECT_EQ(mpi.local_size, 2);
  EXPECT_THAT(mpi.job, HasSubstr("1234"));

  Variables slurm{{"SLURM_PROCID", "3"},        {"SLURM_NTASKS", "4"},    {"SLURM_STEP_ID", "0"},
                  {"SLURM_LOCALID", "1"},       {"SLURM_JOB_ID", "4711"}, {"SLURM_JOB_NODELIST", "n[1-2]"},
                  {"SLURM_STEP_NODELIST", "n2"}};
  const auto step = read(slurm);
  EXPECT_EQ(step.launcher, Launcher::slurm);
  EXPECT_EQ(step.rank, 3);
  EXPECT_EQ(step.slurm_job, 4711U);
  EXPECT_EQ(step.slurm_nodes, "n2");
  slurm.erase("SLURM_STEP_ID");
  EXPECT_EQ(read(slurm).launcher, Launcher::none) << "a batch script is not a rank";
}

TEST(Environment, HydraAlsoUnderSlurm) {
  Variables variables{{"PMI_RANK", "3"},        {"PMI_SIZE", "4"},        {"MPI_LOCALRANKID", "1"},
                      {"MPI_LOCALNRANKS", "2"}, {"SLURM_PROCID", "1"},    {"SLURM_NTASKS", "2"},
                      {"SLURM_STEP_ID", "0"},   {"SLURM_JOB_ID", "4711"}, {"SLURM_STEP_NODELIST", "n[1-2]"}};
  const auto hydra = read(variables);
  EXPECT_EQ(hydra.launcher, Launcher::hydra);
  EXPECT_EQ(hydra.rank, 3);
  EXPECT_EQ(hydra.world_size, 4);
  EXPECT_EQ(hydra.local_rank, 1);
  EXPECT_EQ(hydra.local_size, 2);
  EXPECT_FALSE(hydra.slurm_job) << "a port of the step would be shared by all of its jobs";
  variables.erase("MPI_LOCALRANKID");
  EXPECT_EQ(read(variables).launcher, Launcher::slurm) << "srun sets PMI_RANK, too";
}

TEST(Environment, AnEmptyVariableIsNotSet) {
  EXPECT_EQ(read({{"GRADWIRE_RANK", ""}, {"GRADWIRE_WORLD_SIZE", ""}, {"GRADWIRE_TIMEOUT", ""}}).world_size,
            1);
}

TEST(Environment, HalfAPairOfOursIsAnErrorAndOfTorchrunsIsNot) {
  EXPECT_THAT(refusal({{"GRADWIRE_RANK", "0"}}), HasSubstr("GRADWIRE_WORLD_SIZE is not"));
  EXPECT_THAT(refusal({{"GRADWIRE_WORLD_SIZE", "2"}}), HasSubstr("GRADWIRE_RANK is not"));
  EXPECT_EQ(read({{"RANK", "7"}}).launcher, Launcher::none);
}

TEST(Environment, BadValuesNameTheVariableAndTheValue) {
  const std::map<std::string, std::vector<std::string>> bad{
      {"GRADWIRE_TIMEOUT", {"0", "-1", "soon", "5 s", "nan", "inf", "1e300", "0.1ms", "31536000"}},
      {"GRADWIRE_CONNECTIONS", {"0", "65", "two", "1.5", " 1", "99999999999999999999"}},
      {"GRADWIRE_CHECK", {"2", "maybe"}},
  };
  for (const auto& [name, values] : bad) {
    for (const auto& value : values) {
      EXPECT_THAT(refusal({{name, value}}), HasSubstr(fmt::format("{}={}", name, value)));
    }
  }
  for (const char* rank : {"-1", "4", "x", "1x"}) {
    EXPECT_THAT(refusal({{"GRADWIRE_RANK", rank}, {"GRADWIRE_WORLD_SIZE", "4"}}),
                HasSubstr(std::string("GRADWIRE_RANK=") + rank));
  }
  EXPECT_THAT(refusal({{"GRADWIRE_RANK", "0"}, {"GRADWIRE_WORLD_SIZE", "0"}}),
              HasSubstr("GRADWIRE_WORLD_SIZE=0"));
  EXPECT_THAT(refusal({{"GRADWIRE_RANK", "0"}, {"GRADWIRE_WORLD_SIZE", "65537"}}),
              HasSubstr("GRADWIRE_WORLD_SIZE=65537"));
  EXPECT_THAT(refusal({{"MASTER_ADDR", "h"}, {"MASTER_PORT", "70000"}}), HasSubstr("MASTER_PORT=70000"));
  EXPECT_THAT(refusal({{"GRADWIRE_JOB", std::string(256, 'x')}}), HasSubstr("GRADWIRE_JOB"));
}

TEST(Environment, EveryVariableHasAMeaningAndAppearsOnce) {
  std::set<std::string> seen;
  for (const auto& variable : environment_variables()) {
    EXPECT_TRUE(seen.insert(variable.name).second) << variable.name;
    EXPECT_NE(std::string(variable.meaning), "") << variable.name;
  }
}

std::string page(const std::string& name) {
  std::ifstream file(std::string(GRADWIRE_TEST_DIR) + "/../../docs/" + name);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(Environment, TheDocumentationHasTheSameTable) {
  const std::string text = page("running.md");
  for (const auto& variable : environment_variables()) {
    EXPECT_THAT(text, HasSubstr(std::string("| `") + variable.name + "` | " + variable.meaning + " |\n"));
  }
}

TEST(Errors, TheDocumentationHasEveryCode) {
  const std::string text = page("errors.md");
  int codes = 0;
  for (int number = 0; number < 200; ++number) {
    const std::string name(to_string(static_cast<ErrorCode>(number)));
    if (name == "unknown") continue;
    ++codes;
    EXPECT_THAT(text, HasSubstr("| `" + name + "` | " + std::to_string(number) + " |"));
    EXPECT_THAT(text, HasSubstr("\n### " + name + "\n"));
  }
  EXPECT_EQ(codes, 9);
}

TEST(Environment, NothingOutsideTheTableIsRead) {
  std::set<std::string> known;
  for (const auto& variable : environment_variables()) known.insert(variable.name);
  for (const Variables& variables :
       {Variables{}, Variables{{"RANK", "0"}, {"WORLD_SIZE", "1"}},
        Variables{{"OMPI_COMM_WORLD_RANK", "0"}, {"OMPI_COMM_WORLD_SIZE", "1"}, {"MASTER_ADDR", "x"}},
        Variables{{"PMI_RANK", "0"}, {"PMI_SIZE", "1"}, {"MPI_LOCALRANKID", "0"}},
        Variables{{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "1"}, {"SLURM_STEP_ID", "1"}}}) {
    Environment::read([&](const char* name) -> const char* {
      EXPECT_TRUE(known.contains(name)) << name;
      const auto found = variables.find(name);
      return found == variables.end() ? nullptr : found->second.c_str();
    });
  }
}

}  // namespace
}  // namespace gradwire::base
