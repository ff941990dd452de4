// The backends by name, and how "auto" chooses one: engine/backends/registry.py.

#ifndef FLOW_ENGINE_BACKENDS_REGISTRY_H_
#define FLOW_ENGINE_BACKENDS_REGISTRY_H_

#include <memory>
#include <string>
#include <vector>

#include "backends/backend.h"

namespace flow_engine {

constexpr const char* kAuto = "auto";

struct OpenedBackend {
  std::string name;
  std::unique_ptr<Backend> backend;
};

// Throws InputError for an unknown name, BackendError for one that is not in this build.
void check_backend(const std::string& name);

// The names of the files that a backend reads, or all of this build for "auto".
std::vector<std::string> files_read_by(const std::string& name);

// Opens a bundle with a backend, or with the first that works for "auto".
OpenedBackend open_backend(const std::string& name, const Bundle& bundle, const Settings& settings);

// Defined in the files that were chosen at build time.
std::unique_ptr<Backend> open_tensorrt(const Bundle& bundle, const Settings& settings);
std::unique_ptr<Backend> open_openvino(const Bundle& bundle, const Settings& settings);
std::unique_ptr<Backend> open_onnxruntime(const Bundle& bundle, const Settings& settings);

}  // namespace flow_engine

#endif  // FLOW_ENGINE_BACKENDS_REGISTRY_H_
