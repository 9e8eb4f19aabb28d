#include "transport/nccl/nccl_links.hpp"

#include <cstring>

#include "transport/nccl/nccl_comm_links.hpp"
#include "transport/nccl/nccl_library.hpp"

namespace gradwire::transport {

std::string nccl_information() {
  try {
    return nccl_version_text(nccl_version());
  } catch (const Error& error) {
    return error.what();
  }
}

int nccl_version() { return NcclLibrary::get().version(); }

NcclId make_nccl_id() {
  const NcclLibrary& library = NcclLibrary::get();
  ncclUniqueId unique{};
  const ncclResult_t result = library.get_unique_id(&unique);
  if (result != ncclSuccess) throw library.error("begin a communicator", result, nullptr);
  NcclId id{};
  std::memcpy(id.data(), unique.internal, id.size());
  return id;
}

std::unique_ptr<StreamLinks> make_nccl_links(const NcclId& id, int rank, int ranks, int device,
                                             std::chrono::milliseconds timeout) {
  return std::make_unique<NcclCommLinks>(NcclLibrary::get(), id, rank, ranks, device, timeout);
}

std::unique_ptr<StreamLinks> adopt_nccl_links(::ncclComm* communicator, std::chrono::milliseconds timeout) {
  return std::make_unique<NcclCommLinks>(NcclLibrary::get(), communicator, timeout);
}

}  // namespace gradwire::transport
