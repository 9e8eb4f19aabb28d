// A linear model that every rank trains on data of its own. A Reducer keeps the residuals and averages the
// gradients.
#include <gradwire/gradwire.hpp>
#include <iostream>
#include <numeric>
#include <random>
#include <vector>

namespace {

constexpr std::size_t kFeatures = 1024;
constexpr int kSteps = 2000;
constexpr float kLearningRate = 0.001F;

}  // namespace

int main() try {
  auto comm = gradwire::Communicator::from_environment();
  std::vector<float> weights(kFeatures);
  std::vector<float> gradient(kFeatures);
  gradwire::Reducer reducer(comm, {{"weights", gradient}}, {.codec = "onebit"});

  std::mt19937 random(static_cast<unsigned>(comm.rank()));
  std::normal_distribution<float> normal;
  for (int step = 0; step < kSteps; ++step) {
    std::vector<float> sample(kFeatures);
    for (float& value : sample) value = normal(random);
    // What is to be learned: every weight is one.
    const float target = std::accumulate(sample.begin(), sample.end(), 0.0F);
    const float output = std::inner_product(sample.begin(), sample.end(), weights.begin(), 0.0F);
    for (std::size_t i = 0; i < kFeatures; ++i) gradient[i] = (output - target) * sample[i];

    reducer.ready(0);  // sent as soon as it is complete
    reducer.wait();    // now the mean over all ranks, the same bits everywhere
    for (std::size_t i = 0; i < kFeatures; ++i) weights[i] -= kLearningRate * gradient[i];
  }

  const float mean = std::accumulate(weights.begin(), weights.end(), 0.0F) / kFeatures;
  std::cout << "rank " << comm.rank() << ": mean weight " << mean << " after " << kSteps << " steps\n";
} catch (const gradwire::Error& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
