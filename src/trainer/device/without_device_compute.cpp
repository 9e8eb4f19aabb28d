// What a build without CUDA has in place of devices.

#include "gradwire/error.hpp"
#include "trainer/device/device_compute.hpp"

namespace gradwire::trainer {

int usable_devices() {
  throw Error(ErrorCode::unsupported, "this build of Gradwire has no CUDA",
              "use --device cpu, or configure with -DGRADWIRE_WITH_CUDA=ON");
}
void require_young_enough(int /*number*/) {}
std::unique_ptr<Compute> make_device_compute(int /*number*/) {
  (void)usable_devices();
  return nullptr;
}

}  // namespace gradwire::trainer
