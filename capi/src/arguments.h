// Structures of callers that were compiled with another version of flow_engine.h.

#ifndef FLOW_ENGINE_ARGUMENTS_H_
#define FLOW_ENGINE_ARGUMENTS_H_

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>

#include "errors.h"

namespace flow_engine {

// The sizeof of a structure in version 1.0. Fields that were added since are at its end.
template <typename Structure>
constexpr size_t kFirstSize = sizeof(Structure);
template <>
inline constexpr size_t kFirstSize<FlowEngineOptions> = offsetof(FlowEngineOptions, refine);

// Throws InputError unless a structure of `stated` bytes can be read as one of `known`. One of
// version 1.0, of `first` bytes, is accepted, and a longer one of a newer header where the fields
// that this library does not know are zero.
void check_size(const void* structure, size_t stated, size_t first, size_t known,
                const std::string& name);

// A copy of a caller's structure; fields that it does not have are zero. Throws InputError: it is
// null, or of an unknown version.
template <typename Structure>
Structure read(const Structure* given, const std::string& name) {
  if (given == nullptr) throw InputError(name + " is NULL; expected a structure.");
  check_size(given, given->struct_size, kFirstSize<Structure>, sizeof(Structure), name);
  Structure copy = {};
  std::memcpy(&copy, given, std::min(given->struct_size, sizeof copy));
  return copy;
}

// The element of an array whose elements have the size that the first states.
template <typename Structure>
const Structure* element(const Structure* first, size_t index) {
  const auto* const bytes = reinterpret_cast<const unsigned char*>(first);
  return reinterpret_cast<const Structure*>(bytes + index * first->struct_size);
}

}  // namespace flow_engine

#endif  // FLOW_ENGINE_ARGUMENTS_H_
