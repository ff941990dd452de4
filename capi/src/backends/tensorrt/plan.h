// A TensorRT plan: engine/backends/tensorrt/session.py.

#ifndef FLOW_ENGINE_BACKENDS_TENSORRT_PLAN_H_
#define FLOW_ENGINE_BACKENDS_TENSORRT_PLAN_H_

#include <NvInferRuntime.h>

#include <array>
#include <memory>

#include "backends/backend.h"
#include "backends/tensorrt/gpu.h"

namespace flow_engine {

constexpr const char* kPlan = "model.plan";
constexpr std::array<const char*, 2> kInputs = {"image1", "image2"};
constexpr const char* kOutput = "flow";

struct Plan {
  std::unique_ptr<nvinfer1::IRuntime> runtime;  // outlives the engine
  std::unique_ptr<nvinfer1::ICudaEngine> engine;
  Profile profile;  // the sizes that it was built for
};

// Throws BackendError: TensorRT does not start, the plan was built for another TensorRT or GPU, it
// has other tensors, or its plugins do not load. Call it with the GPU current.
Plan open_plan(const Gpu& gpu, const Bundle& bundle);

// Registers the plugins of the bundle's library, if it has one, once per process and content.
void load_plugins(const Bundle& bundle);

}  // namespace flow_engine

#endif  // FLOW_ENGINE_BACKENDS_TENSORRT_PLAN_H_
