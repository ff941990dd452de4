// What TensorRT would hand to a plugin, for the test of the plugin without TensorRT, and short ways
// to say it.

#ifndef FLOW_TESTS_KERNELS_TENSORRT_DOUBLES_H_
#define FLOW_TESTS_KERNELS_TENSORRT_DOUBLES_H_

#include <NvInferRuntime.h>

#include <algorithm>
#include <deque>
#include <string>
#include <utility>
#include <vector>

struct Log final : nvinfer1::ILogger {
  void log(Severity severity, const char* message) noexcept override {
    last = severity == Severity::kERROR ? message : "not an error";
  }
  std::string last;
};

struct Finder final : nvinfer1::ILoggerFinder {
  explicit Finder(Log& log) : found(&log) {}
  nvinfer1::ILogger* findLogger() override { return found; }
  Log* found;
};

struct Recorder final : nvinfer1::IErrorRecorder {
  int32_t getNbErrors() const noexcept override { return 0; }
  nvinfer1::ErrorCode getErrorCode(int32_t) const noexcept override { return code; }
  ErrorDesc getErrorDesc(int32_t) const noexcept override { return last.c_str(); }
  bool hasOverflowed() const noexcept override { return false; }
  void clear() noexcept override {}
  bool reportError(nvinfer1::ErrorCode value, ErrorDesc message) noexcept override {
    code = value;
    last = message;
    return true;
  }
  RefCount incRefCount() noexcept override { return 1; }
  RefCount decRefCount() noexcept override { return 1; }
  nvinfer1::ErrorCode code = nvinfer1::ErrorCode::kSUCCESS;
  std::string last;
};

struct Context final : nvinfer1::IPluginResourceContext {
  explicit Context(Recorder& recorder) : errors(&recorder) {}
  nvinfer1::IGpuAllocator* getGpuAllocator() const noexcept override { return nullptr; }
  nvinfer1::IErrorRecorder* getErrorRecorder() const noexcept override { return errors; }
  Recorder* errors;
};

// Sizes are constants here; a plugin that did arithmetic with them would be refused.
class Size final : public nvinfer1::IDimensionExpr {
 public:
  explicit Size(int64_t size) : value_(size) { mImpl = &value_; }

 private:
  struct Value final : nvinfer1::apiv::VDimensionExpr {
    explicit Value(int64_t size) : size(size) {}
    bool isConstant() const override { return true; }
    int64_t getConstantValue() const override { return size; }
    bool isSizeTensor() const override { return false; }
    int64_t size;
  };
  Value value_;
};

class ExprBuilder final : public nvinfer1::IExprBuilder {
 public:
  ExprBuilder() { mImpl = &sizes_; }

 private:
  struct Sizes final : nvinfer1::apiv::VExprBuilder {
    const nvinfer1::IDimensionExpr* constant(int64_t value) override {
      return &all.emplace_back(value);
    }
    const nvinfer1::IDimensionExpr* operation(nvinfer1::DimensionOperation,
                                              const nvinfer1::IDimensionExpr&,
                                              const nvinfer1::IDimensionExpr&) override {
      return nullptr;
    }
    const nvinfer1::IDimensionExpr* declareSizeTensor(int32_t, const nvinfer1::IDimensionExpr&,
                                                      const nvinfer1::IDimensionExpr&) override {
      return nullptr;
    }
    std::deque<Size> all;
  };
  Sizes sizes_;
};

// Keeps the creator that was registered last.
struct Registry final : nvinfer1::IPluginRegistry {
  using Creator = nvinfer1::IPluginCreatorInterface;

  bool registerCreator(Creator& creator, const char* in) noexcept override {
    const bool is_new = registered != &creator;
    registered = &creator;
    name_space = in;
    return is_new;
  }
  bool deregisterCreator(const Creator&) noexcept override { return false; }
  Creator* const* getAllCreators(int32_t*) const noexcept override { return nullptr; }
  Creator* getCreator(const char*, const char*, const char*) noexcept override {
    return registered;
  }
  void setErrorRecorder(nvinfer1::IErrorRecorder*) noexcept override {}
  nvinfer1::IErrorRecorder* getErrorRecorder() const noexcept override { return nullptr; }
  bool isParentSearchEnabled() const override { return false; }
  void setParentSearchEnabled(bool) override {}
  PluginLibraryHandle loadLibrary(const char*) noexcept override { return nullptr; }
  void deregisterLibrary(PluginLibraryHandle) noexcept override {}
  nvinfer1::IPluginResource* acquirePluginResource(const char*,
                                                   nvinfer1::IPluginResource*) noexcept override {
    return nullptr;
  }
  int32_t releasePluginResource(const char*) noexcept override { return 0; }
  // No `override`: the first releases of TensorRT 10 do not have it.
  Creator* const* getAllCreatorsRecursive(int32_t*) noexcept { return nullptr; }
#if NV_TENSORRT_MAJOR < 11
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
  bool registerCreator(nvinfer1::IPluginCreator&, const char*) noexcept override { return false; }
  bool deregisterCreator(const nvinfer1::IPluginCreator&) noexcept override { return false; }
  nvinfer1::IPluginCreator* const* getPluginCreatorList(int32_t*) const noexcept override {
    return nullptr;
  }
  nvinfer1::IPluginCreator* getPluginCreator(const char*, const char*,
                                             const char*) noexcept override {
    return nullptr;
  }
#pragma GCC diagnostic pop
#endif
  Creator* registered = nullptr;
  std::string name_space;
};

struct Fields {
  explicit Fields(std::vector<nvinfer1::PluginField> given) : fields(std::move(given)) {
    collection = {static_cast<int32_t>(fields.size()), fields.data()};
  }
  std::vector<nvinfer1::PluginField> fields;
  nvinfer1::PluginFieldCollection collection;
};

inline nvinfer1::PluginField field(const char* name, const int32_t& value) {
  return {name, &value, nvinfer1::PluginFieldType::kINT32, 1};
}

template <typename Capability>
Capability& capability(nvinfer1::IPluginV3& plugin, nvinfer1::PluginCapabilityType type) {
  return *static_cast<Capability*>(plugin.getCapabilityInterface(type));
}
inline nvinfer1::IPluginV3OneBuild& build_of(nvinfer1::IPluginV3& plugin) {
  return capability<nvinfer1::IPluginV3OneBuild>(plugin, nvinfer1::PluginCapabilityType::kBUILD);
}
inline nvinfer1::IPluginV3OneRuntime& runtime_of(nvinfer1::IPluginV3& plugin) {
  return capability<nvinfer1::IPluginV3OneRuntime>(plugin,
                                                   nvinfer1::PluginCapabilityType::kRUNTIME);
}

inline nvinfer1::PluginTensorDesc tensor(
    nvinfer1::DataType type, std::vector<int64_t> sizes,
    nvinfer1::TensorFormat format = nvinfer1::TensorFormat::kLINEAR) {
  nvinfer1::PluginTensorDesc desc{};
  desc.type = type;
  desc.format = format;
  desc.dims.nbDims = static_cast<int32_t>(sizes.size());
  std::copy(sizes.begin(), sizes.end(), desc.dims.d);
  return desc;
}

#endif  // FLOW_TESTS_KERNELS_TENSORRT_DOUBLES_H_
