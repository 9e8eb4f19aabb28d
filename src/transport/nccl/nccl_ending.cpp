#include "transport/nccl/nccl_ending.hpp"

#include <memory>

#include "base/background_thread.hpp"

namespace gradwire::transport {
namespace {

constexpr std::chrono::seconds kPatience{5};

}  // namespace

NcclEnding::NcclEnding(ncclResult_t (*end)(ncclComm_t), ncclComm_t communicator)
    : deadline_(std::chrono::steady_clock::now() + kPatience) {
  // It may outlive this.
  const auto promise = std::make_shared<std::promise<void>>();
  ended_ = promise->get_future();
  thread_ = base::start_background_thread("the end of an NCCL communicator", [=] {
    (void)end(communicator);
    promise->set_value();
  });
}

NcclEnding::~NcclEnding() {
  if (ended_.wait_until(deadline_) == std::future_status::ready) {
    thread_.join();
  } else {
    thread_.detach();
  }
}

}  // namespace gradwire::transport
