#ifndef FLOW_ENGINE_BUNDLE_FILES_H_
#define FLOW_ENGINE_BUNDLE_FILES_H_

#include <map>
#include <string>

#include "bundle/manifest.h"

namespace flow_engine {

using Contents = std::map<std::string, std::string>;  // by file name

// Checks size, then SHA-256, of all of the bundle's files (engine/bundle/verify.py), and returns
// the content of those named in `kept`: what is parsed is what was checked. Throws
// BundleError.
Contents verified_files(const std::string& bundle, const Manifest& manifest,
                        const std::vector<std::string>& kept);

// Changes whenever a build replaces the bundle.
std::string identity(const std::string& bundle);

}  // namespace flow_engine

#endif  // FLOW_ENGINE_BUNDLE_FILES_H_
