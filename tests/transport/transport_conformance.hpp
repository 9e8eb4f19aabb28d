#pragma once

#include "mesh.hpp"

namespace gradwire::transport {

/// The suite of transport_conformance_test.cpp. A program names the transports that it is for.
class Conformance : public FlavorTest {};

}  // namespace gradwire::transport
