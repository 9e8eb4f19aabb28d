#pragma once

#include <utility>

#include "transport/ucx/ucx_library.hpp"

namespace gradwire::transport {

/// Something that UCX was asked to do. To be let go before its worker is, which does not cancel it.
class UcxRequest {
 public:
  /// Done already.
  UcxRequest() = default;
  UcxRequest(const UcxLibrary& ucx, ucs_status_ptr_t result) noexcept
      : ucx_(&ucx), status_(UCS_PTR_STATUS(result)) {
    if (UCS_PTR_IS_PTR(result)) request_ = result;
  }
  ~UcxRequest() { let_go(); }
  UcxRequest(UcxRequest&& other) noexcept
      : ucx_(other.ucx_), request_(std::exchange(other.request_, nullptr)), status_(other.status_) {}
  UcxRequest& operator=(UcxRequest&& other) noexcept {
    if (this == &other) return *this;
    let_go();
    ucx_ = other.ucx_;
    request_ = std::exchange(other.request_, nullptr);
    status_ = other.status_;
    return *this;
  }
  UcxRequest(const UcxRequest&) = delete;
  UcxRequest& operator=(const UcxRequest&) = delete;

  /// UCS_INPROGRESS until it has ended, well (UCS_OK) or not.
  [[nodiscard]] ucs_status_t status() noexcept {
    if (request_ != nullptr) {
      status_ = ucx_->request_check_status(request_);
      if (status_ != UCS_INPROGRESS) let_go();
    }
    return status_;
  }
  [[nodiscard]] bool is_under_way() noexcept { return status() == UCS_INPROGRESS; }

 private:
  void let_go() noexcept {
    if (request_ != nullptr) ucx_->request_free(std::exchange(request_, nullptr));
  }

  const UcxLibrary* ucx_ = nullptr;
  void* request_ = nullptr;
  ucs_status_t status_ = UCS_OK;
};

}  // namespace gradwire::transport
