#include "base/shared_library.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

#include <utility>

#include "gradwire/error.hpp"

namespace gradwire::base {

SharedLibrary::SharedLibrary(const char* file, std::string product, std::string advice)
    : product_(std::move(product)),
      advice_(std::move(advice)),
      handle_(::dlopen(file, RTLD_NOW | RTLD_LOCAL)) {
  if (handle_ != nullptr) return;
  const char* const why = ::dlerror();
  throw Error(ErrorCode::unsupported,
              fmt::format("{} cannot be loaded: {}", product_, why != nullptr ? why : file), advice_);
}

void* SharedLibrary::symbol(const char* name) const noexcept { return ::dlsym(handle_, name); }

void SharedLibrary::throw_lack(const char* name) const {
  throw Error(ErrorCode::unsupported, fmt::format("the {} of this host lacks {}", product_, name), advice_);
}

}  // namespace gradwire::base
