#include "transport/nccl/nccl_abort.hpp"

#include <memory>

#include "base/background_thread.hpp"

namespace gradwire::transport {
namespace {

constexpr std::chrono::seconds kPatience{5};

}  // namespace

NcclAbort::NcclAbort(const NcclLibrary& library, ncclComm_t communicator)
    : deadline_(std::chrono::steady_clock::now() + kPatience) {
  // It may outlive this.
  const auto promise = std::make_shared<std::promise<void>>();
  ended_ = promise->get_future();
  thread_ =
      base::start_background_thread("the abort of an NCCL communicator", [=, abort = library.comm_abort] {
        (void)abort(communicator);
        promise->set_value();
      });
}

NcclAbort::~NcclAbort() {
  if (ended_.wait_until(deadline_) == std::future_status::ready) {
    thread_.join();
  } else {
    thread_.detach();
  }
}

}  // namespace gradwire::transport
