#ifndef FLOW_ENGINE_BUNDLE_CHECKS_H_
#define FLOW_ENGINE_BUNDLE_CHECKS_H_

#include "bundle/json.h"
#include "bundle/manifest.h"

namespace flow_engine {

// Throws SchemaError for values of the right type that contradict each other or the format:
// engine/bundle/checks.py. `content` is what the manifest was made from.
void check_values(const Manifest& manifest, const Json& content);

}  // namespace flow_engine

#endif  // FLOW_ENGINE_BUNDLE_CHECKS_H_
