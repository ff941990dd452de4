// An execution context of TensorRT: engine/backends/tensorrt/slots.py.

#ifndef FLOW_ENGINE_BACKENDS_TENSORRT_SLOT_H_
#define FLOW_ENGINE_BACKENDS_TENSORRT_SLOT_H_

#include <NvInferRuntime.h>

#include <memory>

#include "backends/tensorrt/gpu.h"
#include "layout.h"

namespace flow_engine {

// An execution context with its stream and memory, for one caller at a time. Create, use and
// destroy it with the GPU current. After an exception it is to be destroyed.
class ExecutionSlot {
 public:
  // Throws BackendError: TensorRT failed, for instance for lack of device memory. The GPU and the
  // engine outlive the slot.
  ExecutionSlot(const Gpu& gpu, nvinfer1::ICudaEngine& engine);

  // Waits for the stream, which may still read the caller's images.
  ~ExecutionSlot();

  // The flow of padded images, valid until the next call. Throws BackendError, std::runtime_error.
  const float* run(const Shape& shape, const uint8_t* first, const uint8_t* second);

 private:
  void set_shape(const Shape& shape);
  void expect(bool accepted, const char* what) const;

  const Gpu& gpu_;
  Stream stream_;
  DeviceMemory images_[2], flow_;
  PinnedMemory result_;
  std::unique_ptr<nvinfer1::IExecutionContext> context_;
  Shape shape_ = {0, 0, 0};  // of the context; not set yet
};

}  // namespace flow_engine

#endif  // FLOW_ENGINE_BACKENDS_TENSORRT_SLOT_H_
