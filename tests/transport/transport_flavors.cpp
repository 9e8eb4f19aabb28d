#include "transport_conformance.hpp"

namespace gradwire::transport {
namespace {

INSTANTIATE_TEST_SUITE_P(Transports, Conformance,
                         testing::ValuesIn(with_ucx({{"inproc", "inproc"},
                                                     {"shm", "shm"},
                                                     {"tcp", "tcp"},
                                                     {"tcp_striped", "tcp", 3},
                                                     {"automatic", "auto"},
                                                     {"mixed", "auto", 2, 2}})),
                         [](const auto& each) { return each.param.name; });

}  // namespace
}  // namespace gradwire::transport
