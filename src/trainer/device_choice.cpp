#include "trainer/device_choice.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cstdint>
#include <string_view>
#include <system_error>

#include "gradwire/error.hpp"
#include "trainer/core_sharing.hpp"
#include "trainer/device/device_compute.hpp"
#include "trainer/host_compute.hpp"

namespace gradwire::trainer {

DeviceChoice parse_device(const std::string& text) {
  constexpr std::string_view kNumbered = "cuda:";
  if (text == "cpu") return {};
  if (text == "cuda") return {.is_cuda = true, .number = {}};
  if (text.starts_with(kNumbered)) {
    int number = -1;
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data() + kNumbered.size(), end, number);
    if (error == std::errc() && stop == end && number >= 0) return {.is_cuda = true, .number = number};
  }
  throw Error(ErrorCode::invalid_argument, fmt::format("--device is '{}'", text),
              "give cpu, cuda, or cuda:N for CUDA device N");
}

void require_device(const DeviceChoice& choice) {
  if (!choice.is_cuda) return;
  const int devices = usable_devices();
  if (choice.number.value_or(0) < devices) {
    // Without a number the ranks take them all in turn.
    for (int number = 0; number < devices; ++number) {
      if (choice.number.value_or(number) == number) require_young_enough(number);
    }
    return;
  }
  throw Error(ErrorCode::invalid_argument,
              fmt::format("--device is cuda:{}, and there {} here", *choice.number,
                          devices == 1 ? "is one CUDA device" : fmt::format("are {} CUDA devices", devices)),
              "number them from 0, as CUDA_VISIBLE_DEVICES leaves them");
}

std::unique_ptr<Compute> make_compute(const DeviceChoice& choice, RankGroup& ranks) {
  // All take part, and those count that have not said which device they want.
  const std::uint64_t turns = choice.is_cuda && !choice.number ? this_machine() : 0;
  int place = ranks.rank();
  (void)ranks.together([&](Communicator& comm) { place = place_among_equals(comm, turns); });
  if (!choice.is_cuda) return std::make_unique<HostCompute>();
  require_device(choice);
  return make_device_compute(choice.number.value_or(place % usable_devices()));
}

std::string to_string(Device device) {
  return device.is_host() ? "cpu" : fmt::format("cuda:{}", device.number());
}

}  // namespace gradwire::trainer
