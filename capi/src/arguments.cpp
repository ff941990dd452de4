#include "arguments.h"

#include <algorithm>

#include "text.h"

namespace flow_engine {

void check_size(const void* structure, size_t stated, size_t first, size_t known,
                const std::string& name) {
  constexpr size_t kMost = 4096;  // no version has more: anything else is no size
  if (stated == first) return;
  if (stated < known || stated > kMost) {
    throw InputError(concat(name, ".struct_size is ", stated, "; expected ", known,
                            ". Set it to the sizeof of the structure, and compile the program with "
                            "the flow_engine.h of this library."));
  }
  const auto* const bytes = static_cast<const unsigned char*>(structure);
  const auto is_zero = [](unsigned char byte) { return byte == 0; };
  if (std::all_of(bytes + known, bytes + stated, is_zero)) return;
  throw InputError(concat(name, " has fields that are not known to this library, version ",
                          FLOW_ENGINE_VERSION_MAJOR, ".", FLOW_ENGINE_VERSION_MINOR, ".",
                          FLOW_ENGINE_VERSION_PATCH, ". Set them to 0, or use a newer library."));
}

}  // namespace flow_engine
