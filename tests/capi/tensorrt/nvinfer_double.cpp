// The double's part of libnvinfer. unused_calls.h is generated from TensorRT's headers: the calls
// that the library does not make, which end the test.

#include <fstream>
#include <map>
#include <sstream>

#include "cuda_double.h"
#include "unused_calls.h"

using namespace nvinfer1;

namespace {

ILogger* logger = nullptr;

void log_error(const char* text) { logger->log(ILogger::Severity::kERROR, text); }

// Counts a call that TensorRT refuses where it is the one that fails.
bool refuses(const char* what) {
  if (!fails()) return false;
  log_error(what);
  return true;
}

// An object that is alive from now on, inside another one.
class Alive {
 public:
  explicit Alive(int* inside = nullptr) : inside_(inside) {
    ++the_double.alive;
    if (inside_ != nullptr) ++*inside_;
    device_ = current_device();
  }
  ~Alive() {
    const Guard guard(lock);
    --the_double.alive;
    if (inside_ != nullptr) --*inside_;
    if (inner != 0) mistake("destroyed before what it made");
    if (current_device() != device_ && !the_double.has_lost_gpu)
      mistake("destroyed with another GPU current");
  }
  int inner = 0;

 private:
  int* const inside_;
  int device_;
};

class Context final : public IExecutionContext, UnusedVExecutionContext {
 public:
  explicit Context(int* inside) : alive_(inside) { mImpl = this; }

  bool setInputShape(const char* name, const Dims& dims) noexcept override {
    const Guard guard(lock);
    if (refuses("shape")) return false;
    bool fits = dims.nbDims == 4 && dims.d[3] == 3;
    for (int i = 0; i < 3; ++i) fits &= dims.d[i] >= kSmallest[i] && dims.d[i] <= kLargest[i];
    if (!fits) mistake("a shape outside the profile");
    shapes_[name] = dims;
    return true;
  }

  Dims getTensorShape(const char*) const noexcept override {
    Dims shape = shapes_.at("image1");
    shape.d[3] = the_double.flow_channels;
    return shape;
  }

  bool setTensorAddress(const char* name, void* data) noexcept override {
    const Guard guard(lock);
    if (refuses("address")) return false;
    addresses_[name] = static_cast<char*>(data);
    return true;
  }

  bool enqueueV3(cudaStream_t stream) noexcept override {
    const Guard guard(lock);
    if (refuses("launch failed")) return false;
    const Dims shape = shapes_.at("image1");
    const Dims other = shapes_.at("image2");
    if (!std::equal(shape.d, shape.d + 4, other.d)) mistake("images of two shapes");
    const auto pixels = static_cast<size_t>(shape.d[0] * shape.d[1] * shape.d[2]);
    const char* const first = addresses_.at("image1");
    const char* const second = addresses_.at("image2");
    char* const flow = addresses_.at("flow");
    if (!is_on_device(first, 3 * pixels) || !is_on_device(second, 3 * pixels) ||
        !is_on_device(flow, 8 * pixels)) {
      mistake("too little memory for the tensors");
      return false;
    }
    enqueue(stream, {first, second, flow}, [=] {
      for (size_t i = 0; i < pixels; ++i) {
        const auto* const p = reinterpret_cast<const uint8_t*>(first) + 3 * i;
        const auto* const q = reinterpret_cast<const uint8_t*>(second) + 3 * i;
        float* const out = reinterpret_cast<float*>(flow) + 2 * i;
        out[0] = flow_x(p, q);
        out[1] = flow_y(p, q);
      }
    });
    return true;
  }

 private:
  Alive alive_;
  std::map<std::string, Dims> shapes_;
  std::map<std::string, char*> addresses_;
};

class Engine final : public ICudaEngine, UnusedVCudaEngine {
 public:
  explicit Engine(int* inside) : alive_(inside) { mImpl = this; }

  int32_t getNbIOTensors() const noexcept override {
    return static_cast<int32_t>(the_double.tensors.size());
  }
  const char* getIOTensorName(int32_t index) const noexcept override {
    return the_double.tensors[static_cast<size_t>(index)].first.c_str();
  }
  DataType getTensorDataType(const char* name) const noexcept override {
    for (const auto& [known, type] : the_double.tensors) {
      if (known == name) return type;
    }
    return DataType::kINT64;
  }
  Dims getProfileShape(const char*, int32_t, OptProfileSelector which) const noexcept override {
    const int64_t* const size = which == OptProfileSelector::kMIN   ? kSmallest
                                : which == OptProfileSelector::kMAX ? kLargest
                                                                    : kBest;
    const Guard guard(lock);
    if (refuses("profile")) return Dims{-1, {}};
    return Dims{4, {size[0], size[1], size[2], 3}};
  }
  IExecutionContext* createExecutionContext(ExecutionContextAllocationStrategy) noexcept override {
    const Guard guard(lock);
    if (refuses("out of memory")) return nullptr;
    ++the_double.contexts;
    return new Context(&alive_.inner);
  }

 private:
  Alive alive_;
};

class Runtime final : public IRuntime, UnusedVRuntime {
 public:
  Runtime() { mImpl = this; }

  ICudaEngine* deserializeCudaEngine(const void* blob, size_t size) noexcept override {
    const Guard guard(lock);
    if (refuses("corrupt plan")) return nullptr;
    if (std::string(static_cast<const char*>(blob), size) != the_double.plan) {
      log_error("Version tag does not match.");
      return nullptr;
    }
    return new Engine(&alive_.inner);
  }

 private:
  Alive alive_;
};

struct Registry final : UnusedIPluginRegistry {
  PluginLibraryHandle loadLibrary(const char* path) noexcept override {
    const Guard guard(lock);
    if (refuses("undefined symbol")) return nullptr;
    std::ostringstream content;
    content << std::ifstream(path).rdbuf();
    the_double.plugins.push_back(content.str());
    the_double.paths.emplace_back(path);
    return this;
  }
};

}  // namespace

extern "C" {

int32_t getInferLibMajorVersion() noexcept { return the_double.major; }
int32_t getInferLibMinorVersion() noexcept { return 2; }
int32_t getInferLibPatchVersion() noexcept { return 3; }
int32_t getInferLibBuildVersion() noexcept { return 4; }

void* createInferRuntime_INTERNAL(void* given, int32_t version) noexcept {
  const Guard guard(lock);
  logger = static_cast<ILogger*>(given);
  if (version != NV_TENSORRT_VERSION) mistake("another version than the headers'");
  if (refuses("CUDA initialization failure") || !the_double.starts) return nullptr;
  return static_cast<IRuntime*>(new Runtime);
}

IPluginRegistry* getPluginRegistry() noexcept {
  static Registry registry;
  return &registry;
}

}  // extern "C"
