// TensorRT's C++ home of the correlation (kernels/__init__.py): an IPluginV3 with open shapes, for
// C++ programs, trtexec, and whatever else loads plugin libraries. The interfaces are documented in
// NvInferRuntime.h. This file compiles against TensorRT 10 and 11; the library serves the major
// version that it was compiled for, since ILogger's layout differs.

#include "kernels/tensorrt_plugin/plugin.h"

#include <algorithm>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <new>

#include "kernels/correlation.h"
#include "kernels/correlation_arguments.h"
#include "kernels/tensorrt_plugin/failure.h"

#if NV_TENSORRT_MAJOR < 10
#error "TensorRT 10 or newer is needed: older ones have no IPluginV3"
#endif

namespace flow {
namespace {

using namespace nvinfer1;

constexpr const char* kName = "correlation";
constexpr const char* kVersion = "1";
constexpr const char* kNamespace = "flow";

struct Attributes {
  int32_t max_displacement;
  int32_t stride_2;
};

struct Attribute {
  const char* name;
  int32_t Attributes::* value;
};
constexpr Attribute kAttributes[] = {{"max_displacement", &Attributes::max_displacement},
                                     {"stride_2", &Attributes::stride_2}};
constexpr int32_t kAttributeCount = 2;

// Names and types, and the data where `values` is not null.
struct Fields {
  explicit Fields(const Attributes* values) {
    for (int32_t i = 0; i < kAttributeCount; ++i) {
      const void* const data = values == nullptr ? nullptr : &(values->*kAttributes[i].value);
      fields[i] = PluginField(kAttributes[i].name, data, PluginFieldType::kINT32, 1);
    }
  }
  Fields(const Fields&) = delete;

  PluginField fields[kAttributeCount];
  PluginFieldCollection collection{kAttributeCount, fields};
};

int32_t read_field(const PluginField& field, Attributes& attributes, bool* found) {
  for (int32_t i = 0; i < kAttributeCount; ++i) {
    if (std::strcmp(field.name, kAttributes[i].name) != 0) continue;
    if (field.type != PluginFieldType::kINT32 || field.length != 1 || field.data == nullptr) {
      return fail(FLOW_BAD_DISPLACEMENT, nullptr,
                  "attribute %s has PluginFieldType %d and length %" PRId32
                  "; expected one kINT32 (%d)",
                  field.name, static_cast<int>(field.type), field.length,
                  static_cast<int>(PluginFieldType::kINT32));
    }
    std::memcpy(&(attributes.*kAttributes[i].value), field.data, sizeof(int32_t));
    found[i] = true;
    return FLOW_OK;
  }
  return fail(FLOW_BAD_DISPLACEMENT, nullptr,
              "attribute %s is unknown; expected max_displacement and stride_2", field.name);
}

int32_t read_fields(const PluginFieldCollection& fields, Attributes& attributes) {
  bool found[kAttributeCount] = {};
  for (int32_t i = 0; i < fields.nbFields; ++i) {
    const int32_t status = read_field(fields.fields[i], attributes, found);
    if (status != FLOW_OK) return status;
  }
  for (int32_t i = 0; i < kAttributeCount; ++i) {
    if (found[i]) continue;
    return fail(FLOW_BAD_DISPLACEMENT, nullptr,
                "attribute %s is missing; expected max_displacement and stride_2",
                kAttributes[i].name);
  }
  const int32_t status = check(
      {FLOW_FLOAT32, FLOW_AUTO, 0, 1, 1, 1, 1, attributes.max_displacement, attributes.stride_2});
  if (status == FLOW_OK) return FLOW_OK;
  return fail(status, nullptr, "max_displacement is %" PRId32 " and stride_2 %" PRId32 ": %s",
              attributes.max_displacement, attributes.stride_2, message(status));
}

constexpr int32_t kNoDtype = -1;

int32_t dtype_of(DataType type) {
  switch (type) {
    case DataType::kFLOAT:
      return FLOW_FLOAT32;
    case DataType::kHALF:
      return FLOW_FLOAT16;
    case DataType::kBF16:
      return FLOW_BFLOAT16;
    default:
      return kNoDtype;
  }
}

struct ShapeText {
  explicit ShapeText(const Dims& dims) {
    size_t used = 0;
    for (int32_t i = 0; i < dims.nbDims && used < sizeof text; ++i) {
      used += std::snprintf(text + used, sizeof text - used, i == 0 ? "%" PRId64 : "x%" PRId64,
                            static_cast<int64_t>(dims.d[i]));
    }
  }
  char text[64] = "()";
};

class Correlation final : public IPluginV3,
                          public IPluginV3OneCore,
                          public IPluginV3OneBuild,
                          public IPluginV3OneRuntime {
 public:
  Correlation(const Attributes& attributes, IErrorRecorder* recorder)
      : attributes_(attributes), fields_(&attributes_), recorder_(recorder) {}

  IPluginCapability* getCapabilityInterface(PluginCapabilityType type) noexcept override {
    switch (type) {
      case PluginCapabilityType::kCORE:
        return static_cast<IPluginV3OneCore*>(this);
      case PluginCapabilityType::kBUILD:
        return static_cast<IPluginV3OneBuild*>(this);
      case PluginCapabilityType::kRUNTIME:
        return static_cast<IPluginV3OneRuntime*>(this);
    }
    return nullptr;
  }
  IPluginV3* clone() noexcept override {
    return new (std::nothrow) Correlation(attributes_, recorder_);
  }

  const char* getPluginName() const noexcept override { return kName; }
  const char* getPluginVersion() const noexcept override { return kVersion; }
  const char* getPluginNamespace() const noexcept override { return kNamespace; }

  int32_t getNbOutputs() const noexcept override { return 1; }

  int32_t getOutputDataTypes(DataType* out, int32_t outputs, const DataType* in,
                             int32_t inputs) const noexcept override {
    if (inputs != 2 || outputs != 1) return wrong_count(inputs, outputs);
    if (in[0] != in[1] || dtype_of(in[0]) == kNoDtype) {
      return fail(FLOW_BAD_DTYPE, recorder_,
                  "f1 has DataType %d and f2 %d; expected the same, kFLOAT, kHALF or kBF16",
                  static_cast<int>(in[0]), static_cast<int>(in[1]));
    }
    out[0] = in[0];
    return FLOW_OK;
  }

  int32_t getOutputShapes(const DimsExprs* in, int32_t inputs, const DimsExprs* /* shape_inputs */,
                          int32_t /* shape_input_count */, DimsExprs* out, int32_t outputs,
                          IExprBuilder& builder) noexcept override {
    if (inputs != 2 || outputs != 1) return wrong_count(inputs, outputs);
    if (in[0].nbDims != 4 || in[1].nbDims != 4) {
      return fail(FLOW_BAD_SHAPE, recorder_,
                  "f1 has %" PRId32 " dimensions and f2 %" PRId32 "; expected 4: (N, C, H, W)",
                  in[0].nbDims, in[1].nbDims);
    }
    const int64_t count = 2 * (attributes_.max_displacement / attributes_.stride_2) + 1;
    out[0] = in[0];
    out[0].d[1] = builder.constant(count * count);
    return FLOW_OK;
  }

  bool supportsFormatCombination(int32_t position, const DynamicPluginTensorDesc* tensors,
                                 int32_t inputs, int32_t outputs) noexcept override {
    const PluginTensorDesc& tensor = tensors[position].desc;
    return inputs == 2 && outputs == 1 && tensor.format == TensorFormat::kLINEAR &&
           tensor.type == tensors[0].desc.type && dtype_of(tensor.type) != kNoDtype;
  }

  int32_t configurePlugin(const DynamicPluginTensorDesc* /* in */, int32_t inputs,
                          const DynamicPluginTensorDesc* /* out */,
                          int32_t outputs) noexcept override {
    return inputs == 2 && outputs == 1 ? FLOW_OK : wrong_count(inputs, outputs);
  }

  IPluginV3* attachToContext(IPluginResourceContext* context) noexcept override {
    return new (std::nothrow) Correlation(attributes_, context->getErrorRecorder());
  }

  int32_t onShapeChange(const PluginTensorDesc* in, int32_t inputs,
                        const PluginTensorDesc* /* out */, int32_t outputs) noexcept override {
    if (inputs != 2 || outputs != 1) return wrong_count(inputs, outputs);
    FlowCorrelation arguments;
    return describe(in, arguments);
  }

  int32_t enqueue(const PluginTensorDesc* in, const PluginTensorDesc* /* out */,
                  const void* const* inputs, void* const* outputs, void* /* workspace */,
                  cudaStream_t stream) noexcept override {
    FlowCorrelation arguments;
    int32_t status = describe(in, arguments);
    if (status != FLOW_OK) return status;
    status = flow_correlation_cuda_forward(&arguments, inputs[0], inputs[1], outputs[0], stream);
    if (status == FLOW_OK) return FLOW_OK;
    return fail(status, recorder_, "%s (f1 and f2 %s, max_displacement %" PRId32 ")",
                flow_correlation_cuda_message(status), ShapeText(in[0].dims).text,
                attributes_.max_displacement);
  }

  const PluginFieldCollection* getFieldsToSerialize() noexcept override {
    return &fields_.collection;
  }

 private:
  int32_t wrong_count(int32_t inputs, int32_t outputs) const {
    return fail(FLOW_BAD_SHAPE, recorder_,
                "%" PRId32 " inputs and %" PRId32 " outputs; expected f1 and f2, and one output",
                inputs, outputs);
  }

  // The C functions' view of the inputs.
  int32_t describe(const PluginTensorDesc* in, FlowCorrelation& arguments) const {
    const Dims &f1 = in[0].dims, &f2 = in[1].dims;
    if (f1.nbDims != 4 || f2.nbDims != 4 || !std::equal(f1.d, f1.d + 4, f2.d)) {
      return fail(FLOW_BAD_SHAPE, recorder_, "f1 is %s and f2 %s; expected the same (N, C, H, W)",
                  ShapeText(f1).text, ShapeText(f2).text);
    }
    arguments = {};
    arguments.dtype = dtype_of(in[0].type);
    arguments.max_displacement = attributes_.max_displacement;
    arguments.stride_2 = attributes_.stride_2;
    int32_t* const sizes[] = {&arguments.batch, &arguments.channels, &arguments.height,
                              &arguments.width};
    for (int i = 0; i < 4; ++i) {
      // A size that does not fit stays 0, which is refused.
      if (f1.d[i] <= INT32_MAX) *sizes[i] = static_cast<int32_t>(f1.d[i]);
    }
    const int32_t status = check(arguments);
    if (status == FLOW_OK) return FLOW_OK;
    return fail(status, recorder_, "%s (f1 and f2 %s)", message(status), ShapeText(f1).text);
  }

  const Attributes attributes_;
  const Fields fields_;
  IErrorRecorder* const recorder_;  // the execution context's, or null
};

class Creator final : public IPluginCreatorV3One {
 public:
  const char* getPluginName() const noexcept override { return kName; }
  const char* getPluginVersion() const noexcept override { return kVersion; }
  const char* getPluginNamespace() const noexcept override { return kNamespace; }
  const PluginFieldCollection* getFieldNames() noexcept override { return &fields_.collection; }

  IPluginV3* createPlugin(const char* /* name */, const PluginFieldCollection* fields,
                          TensorRTPhase /* phase */) noexcept override {
    Attributes attributes;
    const PluginFieldCollection none;
    if (read_fields(fields == nullptr ? none : *fields, attributes) != FLOW_OK) return nullptr;
    return new (std::nothrow) Correlation(attributes, nullptr);
  }

 private:
  const Fields fields_{nullptr};
};

Creator creator;

}  // namespace
}  // namespace flow

// The two functions that IPluginRegistry::loadLibrary looks for.
extern "C" FLOW_API void setLoggerFinder(nvinfer1::ILoggerFinder* finder) {
  flow::logger_finder.store(finder);
}

extern "C" FLOW_API nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) {
  static nvinfer1::IPluginCreatorInterface* const creators[] = {&flow::creator};
  count = 1;
  return creators;
}

nvinfer1::IPluginCreatorInterface* flow_correlation_tensorrt_creator(
    nvinfer1::ILogger* logger) noexcept {
  flow::program_logger.store(logger);
  return &flow::creator;
}
