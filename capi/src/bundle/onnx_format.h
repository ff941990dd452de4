// Checks an ONNX file before a runtime reads it: engine/backends/onnx_format.py.

#ifndef FLOW_ENGINE_BUNDLE_ONNX_FORMAT_H_
#define FLOW_ENGINE_BUNDLE_ONNX_FORMAT_H_

#include <string>

#include "bundle/manifest.h"

namespace flow_engine {

// Throws BundleError unless a file is an ONNX model with all its data inside, and has int8 weights
// only if the manifest says so.
void check_onnx(const std::string& path, const std::string& content, const BundleFile& file);

}  // namespace flow_engine

#endif  // FLOW_ENGINE_BUNDLE_ONNX_FORMAT_H_
