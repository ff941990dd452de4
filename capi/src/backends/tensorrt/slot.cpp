#include "backends/tensorrt/slot.h"

#include <algorithm>
#include <string>
#include <vector>

#include "backends/tensorrt/log.h"
#include "backends/tensorrt/plan.h"
#include "errors.h"
#include "text.h"

namespace flow_engine {
namespace {

std::string tuple(const nvinfer1::Dims& shape) {
  std::vector<std::string> sides;
  for (int i = 0; i < shape.nbDims; ++i) sides.push_back(std::to_string(shape.d[i]));
  return "(" + join(sides, ", ") + ")";
}

nvinfer1::Dims4 dims(const Shape& shape, int64_t channels) {
  return {shape.batch, shape.height, shape.width, channels};
}

bool equal(const nvinfer1::Dims& one, const nvinfer1::Dims& other) {
  return one.nbDims == other.nbDims && std::equal(one.d, one.d + one.nbDims, other.d);
}

}  // namespace

ExecutionSlot::ExecutionSlot(const Gpu& gpu, nvinfer1::ICudaEngine& engine)
    : gpu_(gpu), stream_(new_stream()) {
  message_log().take();
  context_.reset(engine.createExecutionContext());
  expect(context_ != nullptr, "an execution context (too little device memory?)");
}

ExecutionSlot::~ExecutionSlot() { ignore(cudaStreamSynchronize(stream_.get())); }

const float* ExecutionSlot::run(const Shape& shape, const uint8_t* first, const uint8_t* second) {
  message_log().take();
  set_shape(shape);
  const auto pixels = static_cast<size_t>(shape.batch * shape.height * shape.width);
  const size_t image_bytes = pixels * 3, flow_bytes = pixels * 2 * sizeof(float);
  const uint8_t* const sources[] = {first, second};
  for (size_t i = 0; i < kInputs.size(); ++i) {
    void* const image = images_[i].reserve(image_bytes);
    expect(context_->setTensorAddress(kInputs[i], image), "an image buffer");
    check(cudaMemcpyAsync(image, sources[i], image_bytes, cudaMemcpyHostToDevice, stream_.get()),
          "copy of an image");
  }
  void* const flow = flow_.reserve(flow_bytes);
  void* const result = result_.reserve(flow_bytes);
  expect(context_->setTensorAddress(kOutput, flow), "a flow buffer");
  expect(context_->enqueueV3(stream_.get()), "to run");
  check(cudaMemcpyAsync(result, flow, flow_bytes, cudaMemcpyDeviceToHost, stream_.get()),
        "copy of the flow");
  check(cudaStreamSynchronize(stream_.get()), "the network");
  return static_cast<const float*>(result);
}

void ExecutionSlot::set_shape(const Shape& shape) {
  const nvinfer1::Dims4 images = dims(shape, 3), expected = dims(shape, 2);
  if (equal(images, dims(shape_, 3))) return;
  for (const char* const name : kInputs) {
    expect(context_->setInputShape(name, images),
           concat(name, " of shape ", tuple(images)).c_str());
  }
  const nvinfer1::Dims flow = context_->getTensorShape(kOutput);
  if (!equal(flow, expected)) {  // the memory has this size
    throw BackendError(concat("the plan returns a flow of ", tuple(flow), " for images of ",
                              tuple(images), "; expected ", tuple(expected),
                              ". Rebuild the bundle."));
  }
  shape_ = shape;
}

void ExecutionSlot::expect(bool accepted, const char* what) const {
  if (accepted) return;
  throw BackendError(
      concat("TensorRT refused ", what, " on ", gpu_.text(), ": ", message_log().take()));
}

}  // namespace flow_engine
