#include "handles.h"

#include <cstdint>
#include <mutex>
#include <unordered_map>

#include "errors.h"

namespace flow_engine {
namespace {

struct Table {
  std::mutex lock;
  std::unordered_map<uintptr_t, std::shared_ptr<Engine>> engines;
  uintptr_t last = 0;
};

// Never destroyed: threads may call while the program ends.
Table& table() {
  static Table* const only = new Table;
  return *only;
}

uintptr_t number_of(const FlowEngine* handle) { return reinterpret_cast<uintptr_t>(handle); }

}  // namespace

FlowEngine* handle_of(std::shared_ptr<Engine> engine) {
  const std::lock_guard guard(table().lock);
  table().engines[++table().last] = std::move(engine);
  return reinterpret_cast<FlowEngine*>(table().last);
}

std::shared_ptr<Engine> engine_of(const FlowEngine* handle) {
  if (handle == nullptr) {
    throw InputError("engine is NULL; expected one that flow_engine_open has opened.");
  }
  const std::lock_guard guard(table().lock);
  const auto found = table().engines.find(number_of(handle));
  if (found != table().engines.end()) return found->second;
  throw InputError("this engine is closed. Open another: flow_engine_open(bundle, ...).");
}

void close(const FlowEngine* handle) {
  std::shared_ptr<Engine> engine;  // declared before the lock: freed after it is released
  const std::lock_guard guard(table().lock);
  const auto found = table().engines.find(number_of(handle));
  if (found == table().engines.end()) return;
  engine = std::move(found->second);
  table().engines.erase(found);
}

}  // namespace flow_engine
