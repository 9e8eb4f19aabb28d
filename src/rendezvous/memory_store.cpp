#include "gradwire/store.hpp"
#include "rendezvous/key_value_table.hpp"

namespace gradwire {
namespace {

class MemoryStore final : public Store {
 public:
  void set(const std::string& key, const std::string& value) override {
    // Bounded by memory alone, since only this process writes to it.
    (void)table_.set(key, value);
  }

  std::optional<std::string> get(const std::string& key, std::chrono::milliseconds timeout) override {
    return table_.get(key, timeout);
  }

 private:
  rendezvous::KeyValueTable table_;
};

}  // namespace

std::shared_ptr<Store> make_memory_store() { return std::make_shared<MemoryStore>(); }

}  // namespace gradwire
