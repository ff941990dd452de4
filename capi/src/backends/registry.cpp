#include "backends/registry.h"

#include <algorithm>

#include "errors.h"
#include "text.h"

namespace flow_engine {
namespace {

struct Entry {
  const char* name;
  std::vector<std::string> files;                                    // that it reads
  std::unique_ptr<Backend> (*open)(const Bundle&, const Settings&);  // null: not in this build
};

const std::vector<std::string> kGraphs = {"model.onnx", "features.onnx", "match.onnx"};

// Fastest first.
const Entry kBackends[] = {
#if defined(FLOW_ENGINE_TENSORRT)
    {"tensorrt", {"model.plan", "libflow_correlation_tensorrt.so"}, open_tensorrt},
#else
    {"tensorrt", {}, nullptr},
#endif
#if defined(FLOW_ENGINE_OPENVINO)
    {"openvino", kGraphs, open_openvino},
#else
    {"openvino", {}, nullptr},
#endif
#if defined(FLOW_ENGINE_ONNXRUNTIME)
    {"onnxruntime", kGraphs, open_onnxruntime},
#else
    {"onnxruntime", {}, nullptr},
#endif
};

std::string built() {
  std::vector<std::string> names;
  for (const Entry& entry : kBackends) {
    if (entry.open != nullptr) names.emplace_back(entry.name);
  }
  return names.empty() ? "none" : join(names, ", ");
}

}  // namespace

void check_backend(const std::string& name) {
  if (name == kAuto) return;
  std::vector<std::string> known = {kAuto};
  for (const Entry& entry : kBackends) {
    known.emplace_back(entry.name);
    if (name != entry.name) continue;
    if (entry.open != nullptr) return;
    throw BackendError(concat("backend ", name, " is not in this build of the library, which has ",
                              built(), ". Configure it with the option of that backend, see ",
                              "docs/c-api.md."));
  }
  throw InputError(concat("unknown backend ", repr(name), "; expected one of ", join(known, ", "),
                          ".", nearest(name, known)));
}

std::vector<std::string> files_read_by(const std::string& name) {
  std::vector<std::string> files;
  for (const Entry& entry : kBackends) {
    if (entry.open == nullptr || (name != kAuto && name != entry.name)) continue;
    files.insert(files.end(), entry.files.begin(), entry.files.end());
  }
  return files;
}

OpenedBackend open_backend(const std::string& name, const Bundle& bundle,
                           const Settings& settings) {
  std::vector<std::string> reasons;
  for (const Entry& entry : kBackends) {
    if (entry.open == nullptr || (name != kAuto && name != entry.name)) continue;
    if (name == entry.name) return {name, entry.open(bundle, settings)};
    try {
      return {entry.name, entry.open(bundle, settings)};
    } catch (const BackendError& error) {
      reasons.push_back(concat(entry.name, ": ", one_line(error.what())));
    }
  }
  if (reasons.empty()) reasons.emplace_back("this build of the library has none");
  throw BackendError(
      concat("no backend can run ", bundle.folder, " here. ", join(reasons, "; "), "."));
}

}  // namespace flow_engine
