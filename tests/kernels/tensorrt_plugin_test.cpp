// The TensorRT plugin without TensorRT and without a GPU: doubles stand where TensorRT calls it,
// and the CPU library stands in for the kernels. The argument is the built library, whose creator
// is got the way IPluginRegistry::loadLibrary gets it.

#include <dlfcn.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "kernels/correlation.h"
#include "kernels/tensorrt_plugin/plugin.h"
#include "tests/kernels/definition.h"
#include "tests/kernels/tensorrt_doubles.h"

namespace {

using namespace nvinfer1;
using Plugin = std::unique_ptr<IPluginV3>;
using Array = std::vector<float>;

bool all_ok = true;
Registry registry;
FlowCorrelation launched;         // the last call's arguments,
void* launched_on = nullptr;      // its stream,
int32_t launch_status = FLOW_OK;  // and what it is to return instead of running

void expect(bool ok, const std::string& what) {
  std::printf("%s %s\n", what.c_str(), ok ? "ok" : "FAILED");
  all_ok &= ok;
}

// `told` is what a call has told the log, and is read after it.
void expect_refusal(bool refused, const std::string& told, const char* text) {
  expect(refused && told.find(text) != std::string::npos, "refused: " + told);
}

Plugin create(IPluginCreatorV3One& creator, int32_t max_displacement, int32_t stride_2) {
  const Fields fields({field("max_displacement", max_displacement), field("stride_2", stride_2)});
  return Plugin(creator.createPlugin("layer", &fields.collection, TensorRTPhase::kBUILD));
}

void check_identity(IPluginCreatorV3One& creator) {
  const PluginFieldCollection& names = *creator.getFieldNames();
  expect(std::string(creator.getInterfaceInfo().kind) == "PLUGIN CREATOR_V3ONE", "kind of creator");
  expect(names.nbFields == 2 && !std::strcmp(names.fields[0].name, "max_displacement") &&
             !std::strcmp(names.fields[1].name, "stride_2") &&
             names.fields[0].type == PluginFieldType::kINT32,
         "names of attributes");
  const Plugin plugin = create(creator, 20, 2);
  auto& core = capability<IPluginV3OneCore>(*plugin, PluginCapabilityType::kCORE);
  expect(!std::strcmp(core.getPluginName(), "correlation") &&
             !std::strcmp(creator.getPluginName(), "correlation"),
         "name");
  expect(
      !std::strcmp(core.getPluginVersion(), "1") && !std::strcmp(creator.getPluginVersion(), "1"),
      "version");
  expect(!std::strcmp(core.getPluginNamespace(), "flow") &&
             !std::strcmp(creator.getPluginNamespace(), "flow"),
         "namespace");
}

void check_shapes(IPluginCreatorV3One& creator, Log& log) {
  const Plugin plugin = create(creator, 20, 2);
  ExprBuilder builder;
  DimsExprs in[2]{}, out{};
  const int64_t sizes[] = {2, 256, 48, 64};
  for (DimsExprs& dims : in) {
    dims.nbDims = 4;
    for (int i = 0; i < 4; ++i) dims.d[i] = builder.constant(sizes[i]);
  }
  expect(build_of(*plugin).getOutputShapes(in, 2, nullptr, 0, &out, 1, builder) == 0, "shapes");
  expect(out.nbDims == 4 && out.d[0] == in[0].d[0] && out.d[1]->getConstantValue() == 441 &&
             out.d[2] == in[0].d[2] && out.d[3] == in[0].d[3],
         "(N, C, H, W) becomes (N, 441, H, W)");
  in[1].nbDims = 3;
  expect_refusal(build_of(*plugin).getOutputShapes(in, 2, nullptr, 0, &out, 1, builder) != 0,
                 log.last, "f1 has 4 dimensions and f2 3; expected 4: (N, C, H, W)");
  expect_refusal(build_of(*plugin).getOutputShapes(in, 1, nullptr, 0, &out, 1, builder) != 0,
                 log.last, "1 inputs and 1 outputs; expected f1 and f2");
}

void check_types(IPluginCreatorV3One& creator, Log& log) {
  const Plugin plugin = create(creator, 20, 2);
  IPluginV3OneBuild& build = build_of(*plugin);
  const auto supported = [&](DataType first, DataType other, TensorFormat format) {
    DynamicPluginTensorDesc tensors[3]{};
    for (int i = 0; i < 3; ++i) tensors[i].desc = tensor(i == 0 ? first : other, {}, format);
    int count = 0;
    for (int i = 0; i < 3; ++i) count += build.supportsFormatCombination(i, tensors, 2, 1);
    return count;
  };
  for (const DataType type : {DataType::kFLOAT, DataType::kHALF, DataType::kBF16}) {
    const DataType in[] = {type, type};
    DataType out = DataType::kINT32;
    const std::string name = "DataType " + std::to_string(static_cast<int>(type));
    expect(build.getOutputDataTypes(&out, 1, in, 2) == 0 && out == type, name);
    expect(supported(type, type, TensorFormat::kLINEAR) == 3, name + " linear");
    expect(supported(type, type, TensorFormat::kHWC8) == 0, name + " not channels-last");
  }
  expect(supported(DataType::kHALF, DataType::kFLOAT, TensorFormat::kLINEAR) == 1, "not mixed");
  expect(supported(DataType::kINT8, DataType::kINT8, TensorFormat::kLINEAR) == 0, "not int8");
  for (const DataType second : {DataType::kFLOAT, DataType::kHALF}) {
    const DataType in[] = {second == DataType::kHALF ? DataType::kFLOAT : DataType::kINT8, second};
    DataType out;
    expect_refusal(build.getOutputDataTypes(&out, 1, in, 2) != 0, log.last,
                   "expected the same, kFLOAT, kHALF or kBF16");
  }
}

// What a plugin serialises, given to the creator again, as an engine's deserialization does it.
void check_serialisation(IPluginCreatorV3One& creator) {
  Plugin plugin = create(creator, 12, 3);
  Plugin cloned(plugin->clone());
  plugin.reset();
  const PluginFieldCollection* fields = runtime_of(*cloned).getFieldsToSerialize();
  const Plugin again(creator.createPlugin("layer", fields, TensorRTPhase::kRUNTIME));
  cloned.reset();
  fields = runtime_of(*again).getFieldsToSerialize();
  bool ok = fields->nbFields == 2;
  for (int i = 0; ok && i < 2; ++i) {
    int32_t value = 0;
    std::memcpy(&value, fields->fields[i].data, sizeof value);
    ok = value == (std::strcmp(fields->fields[i].name, "stride_2") ? 12 : 3);
  }
  expect(ok, "clone, serialise and create again");
}

void check_refusals(IPluginCreatorV3One& creator, Log& log) {
  const int32_t three = 3, two = 2, minus = -2, zero = 0, wide = 8192;
  const float half = 0.5f;
  const struct {
    std::vector<PluginField> fields;
    const char* text;
  } cases[] = {
      {{field("max_displacement", three), field("stride_2", two)},
       "max_displacement is 3 and stride_2 2: max_displacement must be a non-negative multiple"},
      {{field("max_displacement", minus), field("stride_2", two)}, "max_displacement is -2"},
      {{field("max_displacement", two), field("stride_2", zero)}, "stride_2 at least 1"},
      {{field("max_displacement", wide), field("stride_2", two)}, "too large"},
      {{field("max_displacement", two)}, "attribute stride_2 is missing"},
      {{field("max_displacement", two), field("stride2", two)}, "attribute stride2 is unknown"},
      {{field("max_displacement", two), {"stride_2", &half, PluginFieldType::kFLOAT32, 1}},
       "attribute stride_2 has PluginFieldType 1 and length 1; expected one kINT32 (5)"},
      {{}, "attribute max_displacement is missing"},
  };
  for (const auto& refused : cases) {
    const Fields fields(refused.fields);
    log.last.clear();
    const Plugin plugin(creator.createPlugin("x", &fields.collection, TensorRTPhase::kBUILD));
    expect_refusal(plugin == nullptr, log.last, refused.text);
  }
}

void check_creator(IPluginCreatorV3One& creator, Log& log) {
  check_identity(creator);
  check_shapes(creator, log);
  check_types(creator, log);
  check_serialisation(creator);
  check_refusals(creator, log);
}

// One layer in an execution context.
struct Execution {
  explicit Execution(IPluginCreatorV3One& creator) {
    const Plugin plugin = create(creator, 4, 2);
    attached.reset(runtime_of(*plugin).attachToContext(&context));
  }
  int32_t enqueue() {
    return runtime_of(*attached).enqueue(in, &out, inputs, outputs, nullptr, stream);
  }
  int32_t change_shape() { return runtime_of(*attached).onShapeChange(in, 2, &out, 1); }

  Recorder recorder;
  Context context{recorder};
  Plugin attached;
  PluginTensorDesc in[2] = {tensor(DataType::kFLOAT, {2, 3, 5, 7}),
                            tensor(DataType::kFLOAT, {2, 3, 5, 7})};
  PluginTensorDesc out = tensor(DataType::kFLOAT, {2, 25, 5, 7});
  const void* inputs[2] = {};
  void* outputs[1] = {};
  cudaStream_t stream = reinterpret_cast<cudaStream_t>(this);
};

void check_values(IPluginCreatorV3One& creator) {
  Execution layer(creator);
  const FlowCorrelation a = {FLOW_FLOAT32, FLOW_AUTO, 0, 2, 3, 5, 7, 4, 2};
  const Array f1 = random_array(2 * 3 * 5 * 7, 1), f2 = random_array(f1.size(), 2);
  Array found(2 * 25 * 5 * 7, NAN);
  layer.inputs[0] = f1.data();
  layer.inputs[1] = f2.data();
  layer.outputs[0] = found.data();
  expect(layer.change_shape() == 0 && layer.enqueue() == 0, "enqueue");
  std::vector<double> expected(found.size());
  products(a, [&](size_t k, size_t i, size_t j) {
    expected[k] += static_cast<double>(f1[i]) * f2[j] / a.channels;
  });
  bool close = true;
  for (size_t i = 0; i < found.size(); ++i) close &= std::fabs(found[i] - expected[i]) < 1e-5;
  expect(close, "as defined");
  expect(launched_on == layer.stream, "on the stream that was given");
}

void check_failures(IPluginCreatorV3One& creator, Log& log) {
  Execution layer(creator);
  Recorder& recorder = layer.recorder;
  launch_status = FLOW_CUDA_ERROR + 700;
  layer.in[0].type = layer.in[1].type = DataType::kHALF;
  expect_refusal(layer.enqueue() == launch_status, recorder.last,
                 "status 1700 (f1 and f2 2x3x5x7, max_displacement 4)");
  expect(recorder.code == ErrorCode::kFAILED_EXECUTION && recorder.last == log.last,
         "in the error recorder and the log");
  expect(launched.dtype == FLOW_FLOAT16, "fp16");
  layer.in[0].type = layer.in[1].type = DataType::kBF16;
  expect(layer.enqueue() == launch_status && launched.dtype == FLOW_BFLOAT16, "bf16");

  const auto expect_bad_shape = [&](const char* text) {
    recorder = Recorder();
    expect_refusal(layer.enqueue() == FLOW_BAD_SHAPE &&
                       recorder.code == ErrorCode::kINVALID_ARGUMENT &&
                       layer.change_shape() == FLOW_BAD_SHAPE,
                   recorder.last, text);
  };
  layer.in[1].dims.d[3] = 8;
  expect_bad_shape("f1 is 2x3x5x7 and f2 2x3x5x8; expected the same (N, C, H, W)");
  layer.in[1].dims.d[3] = 7;
  layer.in[0].dims.d[0] = layer.in[1].dims.d[0] = 0;
  expect_bad_shape("a dimension is below 1, or one image has more than 2^31 - 1 elements");
  layer.in[0].dims.d[0] = layer.in[1].dims.d[0] = (int64_t{1} << 32) + 2;
  expect_bad_shape("(f1 and f2 4294967298x3x5x7)");
}

IPluginCreatorV3One& creator_of(void* library, ILoggerFinder& finder) {
  int32_t count = 0;
  const auto set_finder =
      reinterpret_cast<void (*)(ILoggerFinder*)>(dlsym(library, "setLoggerFinder"));
  const auto get_creators = reinterpret_cast<IPluginCreatorInterface* const* (*)(int32_t&)>(
      dlsym(library, "getCreators"));
  IPluginCreatorInterface* const creator = get_creators(count)[0];
  set_finder(&finder);
  expect(count == 1, "one creator");
  return static_cast<IPluginCreatorV3One&>(*creator);
}

}  // namespace

// libnvinfer's and the kernels' functions, which the library itself does not use or contains.
extern "C" IPluginRegistry* getPluginRegistry() noexcept { return &registry; }

int32_t flow_correlation_cuda_forward(const FlowCorrelation* args, const void* f1, const void* f2,
                                      void* out, void* stream) {
  launched = *args;
  launched_on = stream;
  return launch_status != FLOW_OK ? launch_status : flow_correlation_cpu_forward(args, f1, f2, out);
}

const char* flow_correlation_cuda_message(int32_t status) {
  static const std::string text = "status " + std::to_string(status);
  return text.c_str();
}

int main(int argc, char** argv) {
  void* const library = argc == 2 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : nullptr;
  if (library == nullptr) {
    std::printf("%s\n", argc == 2 ? dlerror() : "expected one argument: the library's path");
    return 2;
  }
  Log log, program_log;
  Finder finder(log);
  check_creator(creator_of(library, finder), log);

  expect(flow::register_correlation(program_log) && registry.name_space == "flow", "registered");
  expect(!flow::register_correlation(program_log), "registered before");
  auto& linked = static_cast<IPluginCreatorV3One&>(*registry.registered);
  check_values(linked);
  check_failures(linked, program_log);
  return all_ok ? 0 : 1;
}
