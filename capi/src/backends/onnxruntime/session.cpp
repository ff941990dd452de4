// ONNX Runtime's CPU provider over its C interface: engine/backends/onnxruntime/session.py.

#include <onnxruntime_c_api.h>

#include <functional>
#include <memory>

#include "backends/graphs.h"
#include "backends/registry.h"
#include "errors.h"
#include "system/cpu.h"
#include "text.h"

namespace flow_engine {
namespace {

// The runtime may be older than the headers, but not older than what is used here.
constexpr uint32_t kOldestApi = 21;

const OrtApi& api() {
  static const OrtApi* const found = OrtGetApiBase()->GetApi(kOldestApi);
  if (found != nullptr) return *found;
  throw BackendError(concat("onnxruntime ", OrtGetApiBase()->GetVersionString(),
                            " is too old; expected 1.", kOldestApi,
                            " or newer. Install a newer release."));
}

void check(OrtStatus* status) {
  if (status == nullptr) return;
  const std::unique_ptr<OrtStatus, void (*)(OrtStatus*)> owner(status, api().ReleaseStatus);
  throw std::runtime_error(api().GetErrorMessage(status));
}

template <typename Object>
using Owned = std::unique_ptr<Object, std::function<void(Object*)>>;

// What `create` writes to its last argument, released by `release`.
template <typename Object, typename Create>
Owned<Object> owned(const Create& create, void (*release)(Object*)) {
  Object* object = nullptr;
  check(create(&object));
  return Owned<Object>(object, release);
}

// Never destroyed: there is one for the process.
OrtEnv* environment() {
  static OrtEnv* const only = [] {
    OrtEnv* created = nullptr;
    check(api().CreateEnv(ORT_LOGGING_LEVEL_ERROR, "flow_engine", &created));
    check(api().DisableTelemetryEvents(created));
    return created;
  }();
  return only;
}

ONNXTensorElementDataType type_of(ElementType type) {
  return type == ElementType::kUint8     ? ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8
         : type == ElementType::kFloat16 ? ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16
                                         : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
}

size_t bytes_of(const Tensor& tensor) {
  size_t bytes = tensor.type == ElementType::kUint8     ? 1
                 : tensor.type == ElementType::kFloat16 ? 2
                                                        : 4;
  for (const int64_t side : tensor.shape) bytes *= static_cast<size_t>(side);
  return bytes;
}

Owned<OrtValue> value_from(const Tensor& tensor, const OrtMemoryInfo* memory) {
  return owned<OrtValue>(
      [&](OrtValue** value) {
        return api().CreateTensorWithDataAsOrtValue(memory, tensor.data, bytes_of(tensor),
                                                    tensor.shape.data(), tensor.shape.size(),
                                                    type_of(tensor.type), value);
      },
      api().ReleaseValue);
}

ElementType type_from(ONNXTensorElementDataType type) {
  for (const ElementType known :
       {ElementType::kUint8, ElementType::kFloat16, ElementType::kFloat32}) {
    if (type_of(known) == type) return known;
  }
  throw BackendError(concat("the model has a tensor of ONNX's type ", static_cast<int>(type),
                            "; expected uint8, float16 or float32. Build the bundle again."));
}

Tensor tensor_from(std::shared_ptr<OrtValue> value) {
  const auto info = owned<OrtTensorTypeAndShapeInfo>(
      [&](auto** info) { return api().GetTensorTypeAndShape(value.get(), info); },
      api().ReleaseTensorTypeAndShapeInfo);
  ONNXTensorElementDataType type;
  check(api().GetTensorElementType(info.get(), &type));
  size_t rank = 0;
  check(api().GetDimensionsCount(info.get(), &rank));
  std::vector<int64_t> shape(rank);
  check(api().GetDimensions(info.get(), shape.data(), rank));
  void* data = nullptr;
  check(api().GetTensorMutableData(value.get(), &data));
  return {type_from(type), shape, data, std::move(value)};
}

class Session : public Model {
 public:
  Session(const Bundle& bundle, const std::string& name, const Settings& settings)
      : memory_(owned<OrtMemoryInfo>(
            [](OrtMemoryInfo** memory) {
              return api().CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, memory);
            },
            api().ReleaseMemoryInfo)) {
    const std::string& onnx = onnx_of(bundle, name);
    try {
      const auto options =
          owned<OrtSessionOptions>(api().CreateSessionOptions, api().ReleaseSessionOptions);
      configure(options.get(), settings);
      if (settings.iterations && name != "features.onnx")
        set_iterations(options.get(), *settings.iterations);
      session_ = owned<OrtSession>(
          [&](OrtSession** session) {
            return api().CreateSessionFromArray(environment(), onnx.data(), onnx.size(),
                                                options.get(), session);
          },
          api().ReleaseSession);
      read_output_names();
    } catch (const std::runtime_error& error) {
      throw BackendError(concat("onnxruntime ", OrtGetApiBase()->GetVersionString(),
                                " cannot load ", bundle.folder, "/", name, ": ",
                                one_line(error.what())));
    }
  }

  Tensors run(const Tensors& inputs) override {
    std::vector<const char*> names, output_names;
    std::vector<Owned<OrtValue>> owners;
    std::vector<const OrtValue*> values;
    for (const auto& [name, tensor] : inputs) {
      names.push_back(name.c_str());
      owners.push_back(value_from(tensor, memory_.get()));
      values.push_back(owners.back().get());
    }
    for (const std::string& name : output_names_) output_names.push_back(name.c_str());
    std::vector<OrtValue*> results(output_names.size());
    check(api().Run(session_.get(), nullptr, names.data(), values.data(), values.size(),
                    output_names.data(), output_names.size(), results.data()));
    std::vector<std::shared_ptr<OrtValue>> outputs;
    for (OrtValue* const result : results) outputs.emplace_back(result, api().ReleaseValue);
    Tensors tensors;
    for (size_t i = 0; i < outputs.size(); ++i) tensors[output_names_[i]] = tensor_from(outputs[i]);
    return tensors;
  }

 private:
  static void configure(OrtSessionOptions* options, const Settings& settings) {
    // A pool of n has n - 1 threads of its own, because the calling thread computes as well. With
    // several callers, callers and pool together are `threads`.
    check(api().SetIntraOpNumThreads(options, settings.threads - settings.streams + 1));
    check(api().SetInterOpNumThreads(options, 1));
    check(api().SetSessionLogSeverityLevel(options, ORT_LOGGING_LEVEL_ERROR));
    for (const auto& [key, value] : {
             // Idle threads would otherwise busy-wait, and slow down the other graph of two.
             std::pair{"session.force_spinning_stop", "1"},
             // Compute int8 graphs in float: int8 convolutions are no faster in ONNX Runtime.
             {"session.disable_quant_qdq", "1"},
             {"session.enable_quant_qdq_cleanup", "1"},
         }) {
      check(api().AddSessionConfigEntry(options, key, value));
    }
  }

  // The model's own value is an initializer, which ONNX Runtime reads in place, in every run.
  void set_iterations(OrtSessionOptions* options, int64_t iterations) {
    iterations_ = iterations;
    iterations_value_ = owned<OrtValue>(
        [&](OrtValue** value) {
          return api().CreateTensorWithDataAsOrtValue(memory_.get(), &iterations_,
                                                      sizeof iterations_, nullptr, 0,
                                                      ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, value);
        },
        api().ReleaseValue);
    check(api().AddInitializer(options, kIterations, iterations_value_.get()));
  }

  void read_output_names() {
    OrtAllocator* allocator = nullptr;
    check(api().GetAllocatorWithDefaultOptions(&allocator));
    size_t count = 0;
    check(api().SessionGetOutputCount(session_.get(), &count));
    for (size_t i = 0; i < count; ++i) {
      char* name = nullptr;
      check(api().SessionGetOutputName(session_.get(), i, allocator, &name));
      output_names_.emplace_back(name);
      check(api().AllocatorFree(allocator, name));
    }
  }

  Owned<OrtMemoryInfo> memory_;
  int64_t iterations_ = 0;
  Owned<OrtValue> iterations_value_;
  Owned<OrtSession> session_;
  std::vector<std::string> output_names_;
};

}  // namespace

std::unique_ptr<Backend> open_onnxruntime(const Bundle& bundle, const Settings& settings) {
  auto backend = std::make_unique<GraphBackend>(
      bundle, "onnxruntime",
      [&](const std::string& name) { return std::make_unique<Session>(bundle, name, settings); });
  backend->runtime_version = OrtGetApiBase()->GetVersionString();
  backend->arithmetic = "float32";
  if (bundle.manifest.precision == "int8") {
    backend->arithmetic +=
        concat(": int8 ", kIsArm ? "was not measured on Arm" : "is slower in ONNX Runtime");
  }
  return backend;
}

}  // namespace flow_engine
