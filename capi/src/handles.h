// The open engines by handle: a handle is a number that is never used again, so a closed or
// invented one is recognised, and nothing is read through it.

#ifndef FLOW_ENGINE_HANDLES_H_
#define FLOW_ENGINE_HANDLES_H_

#include <memory>

#include "engine.h"

namespace flow_engine {

FlowEngine* handle_of(std::shared_ptr<Engine> engine);

// The engine, which lives at least as long as the result. Throws InputError: it is closed.
std::shared_ptr<Engine> engine_of(const FlowEngine* handle);

// Forgets the handle; unknown ones are ignored.
void close(const FlowEngine* handle);

}  // namespace flow_engine

#endif  // FLOW_ENGINE_HANDLES_H_
