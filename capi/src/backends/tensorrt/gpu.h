// One NVIDIA GPU through CUDA's runtime library: engine/cuda/device.py.

#ifndef FLOW_ENGINE_BACKENDS_TENSORRT_GPU_H_
#define FLOW_ENGINE_BACKENDS_TENSORRT_GPU_H_

#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>
#include <string>

namespace flow_engine {

// Throws std::runtime_error with CUDA's reason. what: the call, for the message.
void check(cudaError_t status, const char* what);

// For calls whose failure changes nothing: the program does not find their error later.
void ignore(cudaError_t status) noexcept;

struct Gpu {
  // Throws BackendError: there is no driver, or no such GPU.
  explicit Gpu(int index);

  // "cuda:0 (NVIDIA L4, compute capability 8.9)"
  std::string text() const;

  int index;
  std::string name, compute_capability;
};

// Makes a GPU the current one of the calling thread, and the thread's own one again at the end.
class CurrentGpu {
 public:
  explicit CurrentGpu(const Gpu& gpu);
  ~CurrentGpu();
  CurrentGpu(const CurrentGpu&) = delete;
  CurrentGpu& operator=(const CurrentGpu&) = delete;

 private:
  int before_ = 0;
};

struct DestroyStream {
  void operator()(cudaStream_t stream) const noexcept { cudaStreamDestroy(stream); }
};
using Stream = std::unique_ptr<CUstream_st, DestroyStream>;

// Does not wait for the default stream.
Stream new_stream();

// Memory that grows to the largest size asked for.
class Memory {
 public:
  using Allocate = cudaError_t (*)(void**, size_t);
  using Free = cudaError_t (*)(void*);

  ~Memory() { free_(data_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  // At least `bytes`; what it held is lost where it grows.
  void* reserve(size_t bytes);

 protected:
  Memory(Allocate allocate, Free free) : allocate_(allocate), free_(free) {}

 private:
  const Allocate allocate_;
  const Free free_;
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

struct DeviceMemory : Memory {
  DeviceMemory() : Memory(cudaMalloc, cudaFree) {}
};

// Of the host, where the GPU copies to without waiting.
struct PinnedMemory : Memory {
  PinnedMemory() : Memory(cudaMallocHost, cudaFreeHost) {}
};

}  // namespace flow_engine

#endif  // FLOW_ENGINE_BACKENDS_TENSORRT_GPU_H_
