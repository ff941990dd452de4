#ifndef FLOW_ENGINE_SYSTEM_MEMORY_H_
#define FLOW_ENGINE_SYSTEM_MEMORY_H_

#include <cstdint>
#include <optional>

namespace flow_engine {

// Bytes that can be allocated without swapping, on the machine and in the process's control group
// (version 2); none: unknown. As engine/system/memory.py.
std::optional<int64_t> available_bytes();

}  // namespace flow_engine

#endif  // FLOW_ENGINE_SYSTEM_MEMORY_H_
