#include "transport_conformance.hpp"

namespace gradwire::transport {
namespace {

INSTANTIATE_TEST_SUITE_P(Transports, Conformance,
                         testing::Values(Flavor{"inproc", "inproc"}, Flavor{"shm", "shm"},
                                         Flavor{"tcp", "tcp"}, Flavor{"tcp_striped", "tcp", 3},
                                         Flavor{"automatic", "auto"}, Flavor{"mixed", "auto", 2, 2}),
                         [](const auto& each) { return each.param.name; });

}  // namespace
}  // namespace gradwire::transport
