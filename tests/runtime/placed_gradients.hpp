#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "compress/cuda/device.hpp"
#include "gradients.hpp"
#include "gradwire/reducer.hpp"

namespace gradwire {

/// Places of Gradients' three tensors, in their order.
using Places = std::vector<Device>;

inline constexpr Device kHost{};

inline Places all_on(Device device) { return Places(3, device); }

/// Gradients, each on the host or on a device, where a stream of its own brings it.
class PlacedGradients {
 public:
  PlacedGradients(int rank, const Places& places) : host_(rank) {
    const auto tensors = host_.tensors();
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      Copy copy{.named = tensors[i], .host = tensors[i].tensor.data, .device = places[i], .memory = {}};
      if (!copy.device.is_host()) {
        const compress::UseDevice here(copy.device.number());
        auto& stream = streams_[copy.device.number()];
        if (!stream) stream = std::make_unique<compress::OwnStream>();
        copy.memory = compress::allocate_device(copy.named.tensor.bytes());
        copy.named.tensor.data = copy.memory.get();
        copy.named.tensor.device = copy.device;
        copy.named.stream = stream->get();
      }
      copies_.push_back(std::move(copy));
    }
  }

  [[nodiscard]] std::vector<NamedTensor> tensors() const {
    std::vector<NamedTensor> all;
    for (const Copy& copy : copies_) all.push_back(copy.named);
    return all;
  }
  Gradients& host() { return host_; }
  void fill(unsigned step) {
    wait();
    host_.fill(step);
    send();
  }
  /// What is on the host goes to the devices, some time.
  void send() {
    for (const Copy& copy : copies_) move(copy, copy.named.tensor.data, copy.host);
  }
  std::vector<float> all() {
    for (const Copy& copy : copies_) move(copy, copy.host, copy.named.tensor.data);
    wait();
    return host_.all();
  }

 private:
  struct Copy {
    NamedTensor named;
    void* host = nullptr;
    Device device;
    compress::DeviceMemory memory;
  };

  static void move(const Copy& copy, void* to, const void* from) {
    if (copy.device.is_host()) return;
    const compress::UseDevice here(copy.device.number());
    compress::copy_on(copy.named.stream, to, from, copy.named.tensor.bytes());
  }
  void wait() const {
    for (const auto& [device, stream] : streams_) stream->wait();
  }

  Gradients host_;
  std::map<int, std::unique_ptr<compress::OwnStream>> streams_;
  std::vector<Copy> copies_;
};

inline void run_steps(PlacedGradients& gradients, Reducer& reducer, unsigned from, unsigned to) {
  for (unsigned step = from; step < to; ++step) {
    gradients.fill(step);
    reducer.wait();
  }
}

inline bool same_bits(const std::vector<float>& one, const std::vector<float>& other) {
  return one.size() == other.size() && std::memcmp(one.data(), other.data(), sizeof(float) * one.size()) == 0;
}

/// Skipped, with the reason, where no kernel can run.
class OnDevices : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = compress::why_no_device(); !reason.empty()) GTEST_SKIP() << reason;
  }
};

}  // namespace gradwire
