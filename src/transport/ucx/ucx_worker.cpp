#include "transport/ucx/ucx_worker.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace gradwire::transport {
namespace {

constexpr unsigned kMessageId = 0;
constexpr int kAttempts = 5;
/// For closing all ways: a dead peer's takes as long as the kernel needs to say so.
constexpr std::chrono::milliseconds kClosePatience{500};

}  // namespace

UcxWorker::UcxWorker(int world_size, std::uint64_t token, const UcxLibrary& ucx)
    : ucx_(ucx),
      token_(token),
      context_(nullptr, ucx.cleanup),
      worker_(nullptr, ucx.worker_destroy),
      ways_(static_cast<std::size_t>(world_size)) {
  closing_.reserve(ways_.size());
  begin();
  address_ = find_address();
  const ucs_status_t status = ucx_.worker_get_efd(worker_.get(), &descriptor_);
  if (status != UCS_OK) throw ucx_.error("UCX cannot wake a rank that sleeps", status);
  listen();
  blocked_.reset();
}

UcxWorker::~UcxWorker() { end(); }

UcxWorker::Context UcxWorker::make_context(int world_size) const {
  ucp_config_t* config = nullptr;
  ucs_status_t status = ucx_.config_read(nullptr, nullptr, &config);
  std::string failed = "UCX finds nothing to work with";
  if (status != UCS_OK) throw ucx_.error("UCX cannot read its configuration", status);
  // Without error handling nobody hears of a peer's death over shared memory. UCX_POSIX_ERROR_HANDLING and
  // UCX_SYSV_ERROR_HANDLING are both this one when they are not set in the environment. With UCX's own
  // interval a death would be noticed after 20 s.
  for (const auto& [name, value] :
       {std::pair("MM_ERROR_HANDLING", "y"), std::pair("KEEPALIVE_INTERVAL", "1s")}) {
    if (status != UCS_OK) break;
    status = ucx_.config_modify(config, name, value);
    if (status != UCS_OK) failed = fmt::format("UCX does not take {}={}", name, value);
  }
  ucp_params_t params = {};
  params.field_mask = UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_ESTIMATED_NUM_EPS | UCP_PARAM_FIELD_NAME;
  params.features = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP;
  params.estimated_num_eps = static_cast<std::size_t>(world_size);
  params.name = "gradwire";
  ucp_context_h context = nullptr;
  if (status == UCS_OK) status = ucx_.init_version(UCP_API_MAJOR, UCP_API_MINOR, &params, config, &context);
  ucx_.config_release(config);
  if (status != UCS_OK) throw ucx_.error(failed, status);
  return {context, ucx_.cleanup};
}

void UcxWorker::begin() {
  for (int attempt = 1;; ++attempt) {
    worker_.reset();
    context_ = make_context(static_cast<int>(ways_.size()));
    const ucs_status_t status = make_worker();
    if (status == UCS_OK) return;
    // A network device may go between UCX's list of them and its use, as containers' do all the time.
    if (status != UCS_ERR_NO_DEVICE || attempt == kAttempts) throw ucx_.error("UCX cannot begin", status);
  }
}

ucs_status_t UcxWorker::make_worker() {
  ucp_worker_params_t params = {};
  params.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE | UCP_WORKER_PARAM_FIELD_FLAGS;
  params.thread_mode = UCS_THREAD_MODE_SERIALIZED;
  params.flags = UCP_WORKER_FLAG_IGNORE_REQUEST_LEAK;
  ucp_worker_h worker = nullptr;
  const ucs_status_t status = ucx_.worker_create(context_.get(), &params, &worker);
  if (status == UCS_OK) worker_.reset(worker);
  return status;
}

std::string UcxWorker::find_address() const {
  ucp_address_t* address = nullptr;
  std::size_t bytes = 0;
  const ucs_status_t status = ucx_.worker_get_address(worker_.get(), &address, &bytes);
  if (status != UCS_OK) throw ucx_.error("UCX has no address", status);
  std::string copy(reinterpret_cast<const char*>(address), bytes);
  ucx_.worker_release_address(worker_.get(), address);
  return copy;
}

void UcxWorker::listen() {
  ucp_am_handler_param_t params = {};
  params.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_FLAGS |
                      UCP_AM_HANDLER_PARAM_FIELD_CB | UCP_AM_HANDLER_PARAM_FIELD_ARG;
  params.id = kMessageId;
  params.flags = UCP_AM_FLAG_WHOLE_MSG | UCP_AM_FLAG_PERSISTENT_DATA;
  params.cb = &UcxWorker::on_message;
  params.arg = this;
  const ucs_status_t status = ucx_.worker_set_am_recv_handler(worker_.get(), &params);
  if (status != UCS_OK) throw ucx_.error("UCX carries no active messages", status);
}

void UcxWorker::attach(int peer, UcxReceiver& receiver) {
  way(peer).receiver = &receiver;
  ++attached_;
}

void UcxWorker::leave(int peer) noexcept {
  close(way(peer));
  if (std::exchange(way(peer).receiver, nullptr) != nullptr && --attached_ == 0) end();
}

ucs_status_t UcxWorker::open(int peer, const std::string& address) {
  const base::BlockedSignals blocked;
  close(way(peer));
  ucp_ep_params_t params = {};
  params.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE |
                      UCP_EP_PARAM_FIELD_ERR_HANDLER;
  params.address = reinterpret_cast<const ucp_address_t*>(address.data());
  params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
  params.err_handler = {&UcxWorker::on_failure, this};
  return ucx_.ep_create(worker_.get(), &params, &way(peer).endpoint);
}

UcxRequest UcxWorker::send(int peer, std::span<const std::byte> head, std::span<const std::byte> payload,
                           std::uint32_t flags) noexcept {
  if (way(peer).endpoint == nullptr) return {ucx_, UCS_STATUS_PTR(UCS_ERR_NOT_CONNECTED)};
  ucp_request_param_t params = {};
  params.op_attr_mask = UCP_OP_ATTR_FIELD_MEMORY_TYPE | UCP_OP_ATTR_FIELD_FLAGS;
  params.memory_type = UCS_MEMORY_TYPE_HOST;
  params.flags = flags;
  return {ucx_, ucx_.am_send_nbx(way(peer).endpoint, kMessageId, head.data(), head.size(), payload.data(),
                                 payload.size(), &params)};
}

UcxRequest UcxWorker::flush(int peer) noexcept {
  if (way(peer).endpoint == nullptr) return {ucx_, UCS_STATUS_PTR(UCS_ERR_NOT_CONNECTED)};
  const ucp_request_param_t params = {};
  return {ucx_, ucx_.ep_flush_nbx(way(peer).endpoint, &params)};
}

UcxRequest UcxWorker::receive(const UcxData& data, std::span<std::byte> place) noexcept {
  ucp_request_param_t params = {};
  params.op_attr_mask = UCP_OP_ATTR_FIELD_MEMORY_TYPE;
  params.memory_type = UCS_MEMORY_TYPE_HOST;
  return {ucx_, ucx_.am_recv_data_nbx(worker_.get(), data.place, place.data(), place.size(), &params)};
}

void UcxWorker::release(void* place) noexcept {
  if (worker_) ucx_.am_data_release(worker_.get(), place);
}

bool UcxWorker::advance() noexcept {
  is_armed_ = false;
  move();
  stirs_ = false;
  return std::exchange(news_, false);
}

bool UcxWorker::has_news() noexcept {
  if (!is_armed_) move();
  return news_ || stirs_;
}

void UcxWorker::move() noexcept {
  if (!worker_) return;
  ++moves_;
  if (ucx_.worker_progress(worker_.get()) == 0) {
    idle_move_ = moves_;
  } else {
    stirs_ = true;
  }
}

void UcxWorker::arm() noexcept {
  if (!worker_) return;
  is_armed_ = ucx_.worker_arm(worker_.get()) == UCS_OK;
  // What cannot be armed has something to do.
  stirs_ = stirs_ || !is_armed_;
}

ucs_status_t UcxWorker::on_message(void* self, const void* head, std::size_t head_bytes, void* data,
                                   std::size_t bytes, const ucp_am_recv_param_t* details) {
  auto& worker = *static_cast<UcxWorker*>(self);
  const std::span all(static_cast<const std::byte*>(head), head_bytes);
  const auto envelope = read_envelope(all);
  // Strangers and earlier runs are not answered.
  if (!envelope || envelope->receiver_token != worker.token_ || envelope->sender >= worker.ways_.size()) {
    return UCS_OK;
  }
  UcxReceiver* const receiver = worker.ways_[envelope->sender].receiver;
  if (receiver == nullptr) return UCS_OK;
  worker.news_ = true;
  const bool is_rendezvous = (details->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) != 0;
  return receiver->on_message(*envelope, all.subspan(kEnvelopeBytes), {data, bytes, is_rendezvous});
}

void UcxWorker::on_failure(void* self, ucp_ep_h endpoint, ucs_status_t status) {
  auto& worker = *static_cast<UcxWorker*>(self);
  for (const Way& way : worker.ways_) {
    if (way.endpoint != endpoint || way.receiver == nullptr) continue;
    worker.news_ = true;
    way.receiver->on_failure(status);
  }
}

void UcxWorker::close(Way& way) noexcept {
  if (way.endpoint == nullptr) return;
  ucp_request_param_t params = {};
  params.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
  params.flags = UCP_EP_CLOSE_FLAG_FORCE;
  std::erase_if(closing_, [](UcxRequest& request) { return !request.is_under_way(); });
  closing_.emplace_back(ucx_, ucx_.ep_close_nbx(std::exchange(way.endpoint, nullptr), &params));
}

void UcxWorker::end() noexcept {
  if (!worker_) return;
  for (Way& way : ways_) close(way);
  const auto deadline = Clock::now() + kClosePatience;
  while (std::ranges::any_of(closing_, &UcxRequest::is_under_way) && Clock::now() < deadline) {
    ucx_.worker_progress(worker_.get());
  }
  closing_.clear();
  worker_.reset();
  context_.reset();
}

}  // namespace gradwire::transport
