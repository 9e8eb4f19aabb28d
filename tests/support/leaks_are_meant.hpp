#pragma once

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

namespace gradwire {

/// While there is one, what its thread allocates may stay allocated for ever.
class LeaksAreMeant {
 public:
#ifdef __SANITIZE_ADDRESS__
  LeaksAreMeant() { __lsan_disable(); }
  ~LeaksAreMeant() { __lsan_enable(); }
#else
  LeaksAreMeant() = default;
  ~LeaksAreMeant() = default;
#endif
  LeaksAreMeant(const LeaksAreMeant&) = delete;
  LeaksAreMeant& operator=(const LeaksAreMeant&) = delete;
};

}  // namespace gradwire
