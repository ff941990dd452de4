// What the library throws inside; api.cpp turns it into statuses. Texts are those of Python's
// engine: what was wrong, what was expected and what to do.

#ifndef FLOW_ENGINE_ERRORS_H_
#define FLOW_ENGINE_ERRORS_H_

#include <stdexcept>
#include <string>

#include "flow_engine.h"

namespace flow_engine {

class Error : public std::runtime_error {
 public:
  Error(FlowEngineStatus status, const std::string& text)
      : std::runtime_error(text), status(status) {}

  const FlowEngineStatus status;
};

struct InputError : Error {
  explicit InputError(const std::string& text) : Error(FLOW_ENGINE_INPUT_ERROR, text) {}
};

struct BundleError : Error {
  explicit BundleError(const std::string& text) : Error(FLOW_ENGINE_BUNDLE_ERROR, text) {}
};

struct BackendError : Error {
  explicit BackendError(const std::string& text) : Error(FLOW_ENGINE_BACKEND_ERROR, text) {}
};

}  // namespace flow_engine

#endif  // FLOW_ENGINE_ERRORS_H_
