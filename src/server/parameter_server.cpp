#include "gradwire/parameter_server.hpp"

#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

#include "base/background_thread.hpp"
#include "server/serving.hpp"

namespace gradwire {

class ParameterServer::Impl {
 public:
  explicit Impl(const ParameterServerOptions& options)
      : serving_(options), thread_(base::start_background_thread("a parameter server", [this] { run(); })) {}

  ~Impl() {
    serving_.stop();
    if (thread_.joinable()) thread_.join();
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  void stop() {
    const std::lock_guard lock(stopping_);
    serving_.stop();
    if (thread_.joinable()) thread_.join();
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
  }
  [[nodiscard]] bool is_serving() const noexcept { return !ended_.load(); }
  [[nodiscard]] const server::Serving& serving() const noexcept { return serving_; }

 private:
  void run() noexcept {
    try {
      serving_.run();
    } catch (...) {
      failure_ = std::current_exception();
    }
    ended_.store(true);
  }

  server::Serving serving_;
  std::mutex stopping_;
  std::exception_ptr failure_;  ///< the thread's until it has ended
  std::atomic<bool> ended_{false};
  std::thread thread_;
};

ParameterServer::ParameterServer(const ParameterServerOptions& options)
    : impl_(std::make_unique<Impl>(options)) {}
ParameterServer::~ParameterServer() = default;
ParameterServer::ParameterServer(ParameterServer&&) noexcept = default;
ParameterServer& ParameterServer::operator=(ParameterServer&&) noexcept = default;

std::string ParameterServer::address() const { return impl_->serving().address(); }
void ParameterServer::stop() { impl_->stop(); }
bool ParameterServer::is_serving() const noexcept { return impl_->is_serving(); }
ParameterServerReport ParameterServer::report() const { return impl_->serving().report(); }

}  // namespace gradwire
