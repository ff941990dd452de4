#include "backends/openvino/session.h"

#include <algorithm>
#include <openvino/runtime/core.hpp>

#include "backends/registry.h"
#include "errors.h"
#include "kernels/openvino/operators.h"
#include "system/cache.h"
#include "text.h"

namespace flow_engine {
namespace {

// Sizes with a model compiled for exactly them at once, faster than the one with dynamic shapes
// that all further sizes share. Of a large file only the first: each compiled model holds the
// weights.
constexpr size_t kAtOnce = 2, kLarge = 1 << 28;
// Of a small file further sizes get one, this many in all, when they have been used so often that
// compiling, whose time grows with the operations, takes no longer than their own model would have
// saved.
constexpr size_t kInAll = 8, kSmall = 1 << 25, kOften = 32, kOperationsAUse = 16;
constexpr size_t kRemembered = 256;  // sizes that uses are counted of

// Never destroyed: its plugins' threads may outlive the program's main function.
ov::Core& core() {
  static ov::Core* const only = [] {
    auto* const core = new ov::Core;
    core->add_extension(flow::operator_extensions());  // for models that were cached
    return core;
  }();
  return *only;
}

BackendError cannot_load(const std::string& path, const std::exception& error) {
  return BackendError(
      concat("openvino ", openvino_version(), " cannot load ", path, ": ", one_line(error.what())));
}

ov::element::Type type_of(ElementType type) {
  return type == ElementType::kUint8     ? ov::element::u8
         : type == ElementType::kFloat16 ? ov::element::f16
                                         : ov::element::f32;
}

ElementType type_from(const ov::element::Type& type) {
  if (type == ov::element::u8) return ElementType::kUint8;
  if (type == ov::element::f16) return ElementType::kFloat16;
  if (type == ov::element::f32) return ElementType::kFloat32;
  throw BackendError(concat("the model has a tensor of type ", type.get_type_name(),
                            "; expected uint8, float16 or float32. Build the bundle again."));
}

// Keeps the tensor's memory as long as the result.
Tensor tensor_from(const ov::Tensor& tensor) {
  const ov::Shape& shape = tensor.get_shape();
  const auto keep = std::make_shared<ov::Tensor>(tensor);
  return {type_from(tensor.get_element_type()), {shape.begin(), shape.end()}, keep->data(), keep};
}

}  // namespace

std::string openvino_version() {
  const std::string build = ov::get_openvino_version().buildNumber;
  return build.substr(0, build.find('-'));
}

Tensors Compiled::run(const Tensors& inputs) {
  ov::InferRequest request = take();
  for (const auto& [name, tensor] : inputs) {
    const ov::Shape shape(tensor.shape.begin(), tensor.shape.end());
    request.set_tensor(name, ov::Tensor(type_of(tensor.type), shape, tensor.data));
  }
  // New tensors, so that the result stays whole when the request serves another caller.
  for (const auto& output : model_.outputs()) {
    const bool fixed = output.get_partial_shape().is_static();
    const ov::Shape shape =
        fixed ? output.get_shape() : ov::Shape(output.get_partial_shape().size(), 0);
    request.set_tensor(output, ov::Tensor(output.get_element_type(), shape));
  }
  request.infer();
  Tensors outputs;
  for (const auto& output : model_.outputs()) {
    outputs[output.get_any_name()] = tensor_from(request.get_tensor(output));
  }
  const std::lock_guard guard(lock_);
  idle_.push_back(request);
  return outputs;
}

ov::InferRequest Compiled::take() {
  {
    const std::lock_guard guard(lock_);
    if (!idle_.empty()) {
      const ov::InferRequest request = idle_.back();
      idle_.pop_back();
      return request;
    }
  }
  return model_.create_infer_request();
}

OpenVinoSession::OpenVinoSession(const Bundle& bundle, const std::string& name,
                                 const Settings& settings)
    : path_(bundle.folder + "/" + name), settings_(settings) {
  const std::string& onnx = onnx_of(bundle, name);
  try {
    core().get_property("CPU", "FULL_DEVICE_NAME");  // throws where there is no CPU device
    model_ = core().read_model(onnx, ov::Tensor());
    write_out_loops(model_, settings.iterations);
    check_resizes(model_);
    make_float32(model_);
    arithmetic = fit_to_cpu(model_);
    place_operators(model_);
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    throw cannot_load(path_, error);
  }
  at_once_ = onnx.size() < kLarge ? kAtOnce : 1;
  in_all_ = onnx.size() < kSmall ? kInAll : at_once_;
  often_ = std::max(kOften, model_->get_ops().size() / kOperationsAUse);
}

Tensors OpenVinoSession::run(const Tensors& inputs) {
  Shapes shapes;
  for (const auto& [name, tensor] : inputs) shapes[name] = tensor.shape;
  return compiled_for(shapes).run(inputs);
}

Compiled& OpenVinoSession::compiled_for(const Shapes& shapes) {
  const auto find = [&](size_t use) -> Compiled* {
    const std::lock_guard guard(known_);
    for (const auto& [known, compiled] : static_) {
      if (known == shapes) return compiled.get();
    }
    return gets_its_own(shapes, use) ? nullptr : dynamic_.get();
  };
  if (Compiled* const found = find(1)) return *found;
  const std::lock_guard guard(compiling_);  // other threads go on with the sizes that are known
  if (Compiled* const found = find(0)) return *found;
  const bool is_static = [&] {
    const std::lock_guard guard_known(known_);
    return gets_its_own(shapes, 0);
  }();
  std::unique_ptr<Compiled> compiled = compile(is_static ? &shapes : nullptr);
  const std::lock_guard guard_known(known_);
  if (!is_static) return *(dynamic_ = std::move(compiled));
  static_.emplace_back(shapes, std::move(compiled));
  return *static_.back().second;
}

bool OpenVinoSession::gets_its_own(const Shapes& shapes, size_t use) {
  if (static_.size() < at_once_) return true;
  if (static_.size() >= in_all_) return false;
  if (uses_.size() >= kRemembered) uses_.clear();
  return (uses_[shapes] += use) > often_;
}

std::unique_ptr<Compiled> OpenVinoSession::compile(const Shapes* shapes) const {
  ov::AnyMap options = {
      {"PERFORMANCE_HINT", "LATENCY"},
      {"NUM_STREAMS", settings_.streams},
      {"INFERENCE_NUM_THREADS", settings_.threads},
      // The default is bfloat16 where the CPU supports it; a graph marks fp16 explicitly.
      {"INFERENCE_PRECISION_HINT", "f32"},
      // On by default, which puts two processes of one thread each on the same core.
      {"ENABLE_CPU_PINNING", false},
  };
  const std::string folder = cache_folder("openvino");
  if (!folder.empty()) options["CACHE_DIR"] = folder;
  try {
    const Graph model = model_->clone();
    if (shapes != nullptr) {
      std::map<std::string, ov::PartialShape> sizes;
      for (const auto& [name, shape] : *shapes) sizes[name] = ov::Shape(shape.begin(), shape.end());
      model->reshape(sizes);
    }
    return std::make_unique<Compiled>(core().compile_model(model, "CPU", options));
  } catch (const std::exception& error) {
    throw cannot_load(path_, error);
  }
}

namespace {

class OpenVinoBackend : public GraphBackend {
 public:
  OpenVinoBackend(const Bundle& bundle, const Settings& settings,
                  std::vector<std::string> parts = {})
      : GraphBackend(bundle, "openvino", [&](const std::string& name) {
          auto session = std::make_unique<OpenVinoSession>(bundle, name, settings);
          if (std::find(parts.begin(), parts.end(), session->arithmetic) == parts.end()) {
            parts.push_back(session->arithmetic);
          }
          return session;
        }) {
    runtime_version = openvino_version();
    arithmetic = join(parts, "; ");
  }
};

}  // namespace

std::unique_ptr<Backend> open_openvino(const Bundle& bundle, const Settings& settings) {
  return std::make_unique<OpenVinoBackend>(bundle, settings);
}

}  // namespace flow_engine
