#include "backends/tensorrt/gpu.h"

#include <stdexcept>

#include "errors.h"
#include "text.h"

namespace flow_engine {

void ignore(cudaError_t status) noexcept {
  if (status != cudaSuccess) cudaGetLastError();  // CUDA keeps it until somebody asks
}

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  ignore(status);
  throw std::runtime_error(concat(what, ": ", cudaGetErrorString(status)));
}

Gpu::Gpu(int index) : index(index) {
  int count = 0;
  try {
    check(cudaGetDeviceCount(&count), "cudaGetDeviceCount");
  } catch (const std::runtime_error& error) {
    throw BackendError(concat("CUDA does not start (", error.what(),
                              "): expected an NVIDIA GPU and its driver. Check nvidia-smi, or use "
                              "a CPU backend"));
  }
  if (index >= count) {
    throw BackendError(
        concat("GPU ", index, " does not exist; expected 0 to ", count - 1, " here"));
  }
  try {
    cudaDeviceProp properties;
    check(cudaGetDeviceProperties(&properties, index), "cudaGetDeviceProperties");
    name = properties.name;
    compute_capability = concat(properties.major, ".", properties.minor);
  } catch (const std::runtime_error& error) {
    throw BackendError(concat("cuda:", index, " cannot be opened: ", error.what(),
                              ". Does another process use it exclusively, or all of its memory? "
                              "See nvidia-smi"));
  }
}

std::string Gpu::text() const {
  return concat("cuda:", index, " (", name, ", compute capability ", compute_capability, ")");
}

CurrentGpu::CurrentGpu(const Gpu& gpu) {
  check(cudaGetDevice(&before_), "cudaGetDevice");
  check(cudaSetDevice(gpu.index), "cudaSetDevice");
}

CurrentGpu::~CurrentGpu() { ignore(cudaSetDevice(before_)); }

Stream new_stream() {
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  return Stream(stream);
}

void* Memory::reserve(size_t bytes) {
  if (bytes <= bytes_) return data_;
  free_(data_);
  data_ = nullptr;
  bytes_ = 0;
  check(allocate_(&data_, bytes), "memory for images and flow");
  bytes_ = bytes;
  return data_;
}

}  // namespace flow_engine
