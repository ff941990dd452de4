#ifndef FLOW_ENGINE_BUNDLE_ADVICE_H_
#define FLOW_ENGINE_BUNDLE_ADVICE_H_

#include <string>

#include "bundle/manifest.h"

namespace flow_engine {

// The shell command that builds a bundle again: engine/bundle/advice.py.
//
// target: the backend that has to find its file in the bundle; "": all backends.
// whole: whether the bundle has to hold the network as one graph; else it stays split if it is.
std::string rebuild_command(const std::string& bundle, const Manifest& manifest,
                            const std::string& target = "", bool whole = false);

}  // namespace flow_engine

#endif  // FLOW_ENGINE_BUNDLE_ADVICE_H_
