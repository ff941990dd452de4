// Checks of the arguments of calls: engine/call_checks.py, engine/images/validate.py.

#ifndef FLOW_ENGINE_CHECKS_H_
#define FLOW_ENGINE_CHECKS_H_

#include <string>
#include <vector>

#include "backends/backend.h"
#include "engine.h"

namespace flow_engine {

// The settings of a backend. Throws InputError: a value is out of range.
Settings settings_from(const FlowEngineOptions& options);

// Throws InputError unless the bundle's network can do that many updates or passes.
void check_iterations(const Settings& settings, const Manifest& manifest);

// Throws InputError unless all pairs have images and flows of one size, in memory that is given.
void check_pairs(const std::vector<Pair>& pairs);

// Throws InputError unless a TensorRT plan accepts so many images of this padded size.
void check_profile(const Profile& profile, const std::string& network, const FlowEngineImage& image,
                   const Shape& shape);

// Throws InputError unless a recurrent network's volume fits in memory: engine/recurrence.py.
void check_memory(const Manifest& manifest, const Shape& shape);

}  // namespace flow_engine

#endif  // FLOW_ENGINE_CHECKS_H_
