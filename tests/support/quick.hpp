#pragma once

#include <cstdlib>

namespace gradwire {

/// Set where instrumentation makes everything slow: the same paths, fewer combinations.
inline bool quick() { return std::getenv("GRADWIRE_TEST_QUICK") != nullptr; }

}  // namespace gradwire
