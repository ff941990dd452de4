#include "backends/tensorrt/plan.h"

#include <algorithm>
#include <string>
#include <vector>

#include "backends/tensorrt/log.h"
#include "bundle/advice.h"
#include "errors.h"
#include "text.h"

namespace flow_engine {
namespace {

using nvinfer1::DataType;
using nvinfer1::OptProfileSelector;

std::string rebuild(const Bundle& bundle) {
  return rebuild_command(bundle.folder, bundle.manifest, "tensorrt");
}

// The classes of one major version have other virtual functions than those of the next.
void check_version() {
  if (getInferLibMajorVersion() == NV_TENSORRT_MAJOR) return;
  throw BackendError(concat("this library was compiled for TensorRT ", NV_TENSORRT_MAJOR,
                            " and runs with TensorRT ", tensorrt_version(), ". Install TensorRT ",
                            NV_TENSORRT_MAJOR,
                            ", or compile the library again with TENSORRT_ROOT"));
}

const char* name_of(DataType type) {
  return type == DataType::kUINT8   ? "UINT8"
         : type == DataType::kFLOAT ? "FLOAT"
         : type == DataType::kHALF  ? "HALF"
                                    : "another type";
}

void check_tensors(const nvinfer1::ICudaEngine& engine, const Bundle& bundle) {
  std::vector<std::string> names, types;
  for (int i = 0; i < engine.getNbIOTensors(); ++i) names.emplace_back(engine.getIOTensorName(i));
  std::sort(names.begin(), names.end());
  const std::vector<std::string> expected = {kOutput, kInputs[0], kInputs[1]};
  if (names != expected) {
    throw BackendError(concat(kPlan, " has the tensors ", repr(names), "; expected ",
                              repr(expected), ". Rebuild it: ", rebuild(bundle)));
  }
  bool fit = true;
  for (const std::string& name : expected) {
    const DataType type = engine.getTensorDataType(name.c_str());
    fit &= type == (name == kOutput ? DataType::kFLOAT : DataType::kUINT8);
    types.push_back(concat(name, ": ", name_of(type)));
  }
  if (fit) return;
  throw BackendError(
      concat(kPlan, " has tensors of {", join(types, ", "),
             "}; expected images of UINT8 and a flow of FLOAT. Rebuild it: ", rebuild(bundle)));
}

Size batch_height_width(const nvinfer1::ICudaEngine& engine, OptProfileSelector selector,
                        const Bundle& bundle) {
  const nvinfer1::Dims shape = engine.getProfileShape(kInputs[0], 0, selector);
  if (shape.nbDims == 4) return {shape.d[0], shape.d[1], shape.d[2]};
  throw BackendError(
      concat(kPlan, " has ", kInputs[0], " of ", shape.nbDims,
             " dimensions in its profile; expected 4. Rebuild it: ", rebuild(bundle)));
}

}  // namespace

Plan open_plan(const Gpu& gpu, const Bundle& bundle) {
  check_version();
  message_log().take();
  Plan plan;
  plan.runtime.reset(nvinfer1::createInferRuntime(message_log()));
  if (plan.runtime == nullptr) {
    throw BackendError(concat("tensorrt ", tensorrt_version(), " does not start on ", gpu.text(),
                              ": ", message_log().take(),
                              ". Check that the NVIDIA driver is recent enough for it"));
  }
  load_plugins(bundle);
  const std::string& content = bundle.contents.at(kPlan);
  plan.engine.reset(plan.runtime->deserializeCudaEngine(content.data(), content.size()));
  if (plan.engine == nullptr) {
    const BundleFile& built = *bundle.manifest.find(kPlan);
    const std::string& capability = built.compute_capability;
    throw BackendError(concat(kPlan, " was built by ", built.tool, " for compute capability ",
                              capability.empty() ? "any (portable)" : capability,
                              " and does not open with tensorrt ", tensorrt_version(), " on ",
                              gpu.text(), ": ", message_log().take(),
                              ". Rebuild it here: ", rebuild(bundle)));
  }
  check_tensors(*plan.engine, bundle);
  plan.profile = {batch_height_width(*plan.engine, OptProfileSelector::kMIN, bundle),
                  batch_height_width(*plan.engine, OptProfileSelector::kOPT, bundle),
                  batch_height_width(*plan.engine, OptProfileSelector::kMAX, bundle)};
  return plan;
}

}  // namespace flow_engine
