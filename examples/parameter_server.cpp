// The model of training.cpp with its weights on a server: workers push gradients and pull weights, in one bit
// an element both ways. Here all are threads of one program; over a network each would be a process of its
// own.
#include <future>
#include <gradwire/gradwire.hpp>
#include <iostream>
#include <numeric>
#include <random>
#include <string>
#include <vector>

namespace {

constexpr std::size_t kFeatures = 1024;
constexpr int kSteps = 2000;

struct Result {
  std::vector<float> weights;
  std::vector<float> loss;  // one value, the mean over the workers
  std::uint64_t bytes_sent;
};

Result work(const std::string& server, int worker) {
  gradwire::ParameterServerClient client(
      {.servers = {server}, .worker = worker, .workers = 2, .push_codec = "onebit", .pull_codec = "onebit"});
  std::vector<float> weights(kFeatures);
  std::vector<float> mean_loss(1);
  client.init("weights", weights, {.optimizer = "sgd:lr=0.001"});  // the server's, so workers have none
  client.init("loss", mean_loss, {.optimizer = "average"});

  std::mt19937 random(static_cast<unsigned>(worker));
  std::normal_distribution<float> normal;
  std::vector<float> gradient(kFeatures);
  std::vector<float> loss(1);
  for (int step = 0; step < kSteps; ++step) {
    for (float& value : gradient) value = normal(random);
    // So far that is a sample. What is to be learned: every weight is one.
    const float target = std::accumulate(gradient.begin(), gradient.end(), 0.0F);
    const float error = std::inner_product(gradient.begin(), gradient.end(), weights.begin(), -target);
    for (float& value : gradient) value *= error;
    loss[0] = error * error;

    gradwire::Work update = client.push_pull("weights", gradient, weights);
    client.clock();  // ends the step, and does not wait
    update.wait();   // now the weights after this step of both workers, the same bits on both
  }
  client.push("loss", loss).wait();  // until the server has taken it
  client.clock();
  client.pull("loss", mean_loss).wait();  // until the other worker's step has ended as well
  return {weights, mean_loss, client.report().wire_bytes_sent};
}

}  // namespace

int main() try {
  const gradwire::ParameterServer server({});  // serves from a thread of its own, at a free port
  auto other = std::async(std::launch::async, work, server.address(), 1);
  const Result one = work(server.address(), 0);
  const Result two = other.get();
  const bool same = one.weights == two.weights && one.loss == two.loss;
  std::cout << "mean weight " << std::accumulate(one.weights.begin(), one.weights.end(), 0.0F) / kFeatures
            << ", mean loss " << one.loss[0] << " after " << kSteps << " steps, "
            << (same ? "the same" : "not the same") << " on both workers; " << one.bytes_sent
            << " bytes sent\n";
  return same ? 0 : 1;
} catch (const gradwire::Error& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
