#pragma once

/// Everything a user of the library needs.
#include "gradwire/communicator.hpp"
#include "gradwire/error.hpp"
#include "gradwire/parameter_server.hpp"
#include "gradwire/reducer.hpp"
#include "gradwire/store.hpp"
#include "gradwire/tensor.hpp"
#include "gradwire/version.hpp"
#include "gradwire/work.hpp"
