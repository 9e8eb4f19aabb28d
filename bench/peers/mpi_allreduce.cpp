// Times MPI_Allreduce of float32 and prints what `gradwire bench allreduce` prints: a table, and JSON with
// --json FILE.
//   mpirun -n 2 mpi_allreduce [--min BYTES] [--max BYTES] [--factor F] [--seconds S] [--json FILE]
#include <fmt/format.h>
#include <mpi.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

struct Options {
  std::size_t min = 4U << 10U;
  std::size_t max = 16U << 20U;
  std::size_t factor = 4;
  double seconds = 0.5;  // for each size
  std::string json;
};

struct Timing {
  std::size_t bytes = 0;
  double min = 0;  // microseconds
  double median = 0;
  double p99 = 0;
};

Options parse(const std::vector<std::string>& arguments) {
  Options options;
  for (std::size_t i = 0; i + 1 < arguments.size(); i += 2) {
    const std::string& name = arguments[i];
    const std::string& value = arguments[i + 1];
    if (name == "--min") {
      options.min = std::stoull(value);
    } else if (name == "--max") {
      options.max = std::stoull(value);
    } else if (name == "--factor") {
      options.factor = std::max(2ULL, std::stoull(value));
    } else if (name == "--seconds") {
      options.seconds = std::stod(value);
    } else if (name == "--json") {
      options.json = value;
    } else {
      throw std::invalid_argument("unknown option " + name);
    }
  }
  return options;
}

double one_operation(std::vector<float>& values) {
  const double begin = MPI_Wtime();
  MPI_Allreduce(MPI_IN_PLACE, values.data(), static_cast<int>(values.size()), MPI_FLOAT, MPI_SUM,
                MPI_COMM_WORLD);
  return MPI_Wtime() - begin;
}

/// As `gradwire bench` measures: operation after operation, and each one's time is that of the slowest rank.
/// A sum that stays in place grows by the number of ranks each time, so after some the values are filled in
/// again.
Timing measure(std::size_t bytes, int ranks, double seconds) {
  constexpr double kRoom = 96;  // powers of two
  constexpr int kWarmUp = 5;
  const int batch = ranks == 1 ? 1000 : std::max(1, static_cast<int>(kRoom / std::log2(ranks)));
  std::vector<float> values(bytes / sizeof(float), 1.0F);
  double estimate = 0;
  for (int i = 0; i < kWarmUp; ++i) estimate = one_operation(values);
  int repetitions = static_cast<int>(std::clamp(seconds / std::max(estimate, 1e-7), 3.0, 100'000.0));
  MPI_Bcast(&repetitions, 1, MPI_INT, 0, MPI_COMM_WORLD);

  std::vector<double> times(static_cast<std::size_t>(repetitions));
  for (int done = 0; done < repetitions; ++done) {
    if (done % batch == 0) {
      std::fill(values.begin(), values.end(), 1.0F);
      MPI_Barrier(MPI_COMM_WORLD);
    }
    times[static_cast<std::size_t>(done)] = one_operation(values);
  }
  MPI_Allreduce(MPI_IN_PLACE, times.data(), repetitions, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
  std::sort(times.begin(), times.end());
  const auto quantile = [&](double q) {
    const auto rank = static_cast<std::size_t>(std::ceil(q * repetitions));
    return 1e6 * times[std::clamp<std::size_t>(rank, 1, times.size()) - 1];
  };
  return {bytes, quantile(0), quantile(0.5), quantile(0.99)};
}

double gigabytes_per_second(std::size_t bytes, double microseconds) {
  return static_cast<double>(bytes) / microseconds / 1e3;
}

void report(const std::vector<Timing>& timings, int ranks, const std::string& json) {
  const double bus = 2.0 * (ranks - 1) / ranks;
  fmt::print("{:>10} {:>10} {:>10} {:>10} {:>8} {:>8}\n", "bytes", "min us", "median us", "p99 us",
             "alg GB/s", "bus GB/s");
  std::string results;
  for (const Timing& t : timings) {
    const double rate = gigabytes_per_second(t.bytes, t.median);
    fmt::print("{:>10} {:>10.2f} {:>10.2f} {:>10.2f} {:>8.2f} {:>8.2f}\n", t.bytes, t.min, t.median, t.p99,
               rate, bus * rate);
    results +=
        fmt::format(R"({}{{"ranks":{},"transport":"mpi","algorithm":"mpi","codec":"none","bytes":{},)"
                    R"("time_us":{{"min":{},"median":{},"p99":{}}},"algbw_GBps":{},"busbw_GBps":{}}})",
                    results.empty() ? "" : ",", ranks, t.bytes, t.min, t.median, t.p99, rate, bus * rate);
  }
  if (json.empty()) return;
  std::ofstream file(json);
  file << "{\"results\":[" << results << "]}\n";
  if (!file.flush()) throw std::runtime_error("cannot write " + json);
}

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int status = EXIT_SUCCESS;
  try {
    int rank = 0;
    int ranks = 1;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    const Options options = parse({argv + 1, argv + argc});
    std::vector<Timing> timings;
    for (std::size_t bytes = options.min; bytes <= options.max; bytes *= options.factor) {
      timings.push_back(measure(bytes, ranks, options.seconds));
    }
    if (rank == 0) report(timings, ranks, options.json);
  } catch (const std::exception& error) {
    fmt::print(stderr, "mpi_allreduce: {}\n", error.what());
    status = EXIT_FAILURE;
  }
  if (status != EXIT_SUCCESS) MPI_Abort(MPI_COMM_WORLD, status);
  MPI_Finalize();
  return status;
}
