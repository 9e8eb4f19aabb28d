#include "service_host.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <iterator>
#include <thread>

namespace gradwire::transport {

std::vector<Way> all_ways() {
  std::vector<Way> ways{
      {"shm", "shm", "127.0.0.1"}, {"tcp", "tcp", "127.0.0.1"}, {"automatic", "auto", "127.0.0.1"}};
  if (has_ipv6()) {
    ways.push_back({"shm_ipv6", "shm", "[::1]"});
    ways.push_back({"tcp_ipv6", "tcp", "[::1]"});
  }
  return ways;
}

ServiceOptions service_options(const Way& way) {
  ServiceOptions options;
  options.address = way.host;
  options.job = "service-test";
  options.kind = way.kind;
  options.timeout = kSoon;
  return options;
}

ServiceOptions caller_options(const Way& way, const std::string& address) {
  ServiceOptions options = service_options(way);
  options.address = address;
  return options;
}

void call(const ServiceOptions& options, const std::function<void(Endpoint&)>& body) {
  try {
    const auto endpoint = call_service(options);
    body(*endpoint);
    endpoint->close(std::chrono::seconds(5));
  } catch (const Error& error) {
    ADD_FAILURE() << error.what();
  }
}

void exchange(Endpoint& endpoint, std::uint64_t frames, std::size_t most_bytes) {
  for (std::uint64_t i = 0; i < frames; ++i) {
    const std::size_t size = i % 2 == 0 ? most_bytes : most_bytes * i / frames;
    const auto payload = payload_for(0, 1, i, size);
    const auto header = header_for(0, 1, i);
    send(endpoint, 1, header, payload);
    const Received back = receive(endpoint, 1);
    ASSERT_EQ(back.payload, payload) << i;
    EXPECT_EQ(back.header.order_hash, header.order_hash);
    drain(endpoint, 1, i + 1);
  }
}

std::size_t open_descriptors() {
  const std::filesystem::directory_iterator entries("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(entries), end(entries)));
}

void EchoHost::serve_until(const std::function<bool()>& holds) {
  const auto deadline = Clock::now() + kSoon;
  while (!holds()) {
    ASSERT_LT(Clock::now(), deadline) << "the test waited in vain";
    serve_once();
  }
}

void EchoHost::serve_while(const std::vector<std::function<void()>>& calls) {
  std::atomic<std::size_t> ended{0};
  std::vector<std::thread> threads;
  threads.reserve(calls.size());
  for (const auto& body : calls) {
    threads.emplace_back([&] {
      body();
      ++ended;
      service_->wake();
    });
  }
  serve_until([&] { return ended == calls.size(); });
  for (auto& thread : threads) thread.join();
}

void EchoHost::serve_once() {
  bool busy = service_->progress();
  for (const CallerId caller : service_->arrivals()) {
    present_.push_back(caller);
    ++arrived_;
  }
  for (const CallerId caller : present_) busy = echo(caller) || busy;
  for (auto& departure : service_->departures()) {
    std::erase(present_, departure.caller);
    answers_.erase(departure.caller);
    departed_.push_back(std::move(departure));
    busy = true;
  }
  if (!busy) service_->wait(Clock::now() + std::chrono::milliseconds(50));
}

bool EchoHost::is_stuck() const {
  return std::ranges::any_of(answers_,
                             [](const auto& each) { return each.second.waiting.size() == kMostWaiting; });
}

bool EchoHost::echo(CallerId caller) {
  Link& link = service_->link(caller);
  Answers& answers_here = answers_[caller];
  bool busy = false;
  while (answers_here.waiting.size() < kMostWaiting) {
    const Frame* frame = link.front();
    if (frame == nullptr) break;
    if (answers) {
      answers_here.waiting.push_back({frame->header, {frame->payload.begin(), frame->payload.end()}});
    }
    link.pop();
    ++frames_;
    busy = true;
  }
  while (!answers_here.waiting.empty() &&
         link.try_send(answers_here.waiting.front().header, answers_here.waiting.front().payload)) {
    answers_here.lent.push_back(std::move(answers_here.waiting.front()));
    answers_here.waiting.pop_front();
    busy = true;
  }
  for (; answers_here.completed < link.completed(); ++answers_here.completed) answers_here.lent.pop_front();
  return busy;
}

}  // namespace gradwire::transport
