// The CUDA home of the correlation: one entry point per kernel, with C names, so that the PTX of
// this file can be launched by name too, and the host functions of correlation.h that choose one.
//
// Entry points take inputs, then int32 scalars, then outputs, and need no workspace: the order that
// TensorRT's ahead-of-time plugins prescribe. Each kernel's file tells its grid and block.

#include <cuda_runtime.h>

#include "kernels/correlation.h"
#include "kernels/correlation_arguments.h"
#include "kernels/correlation_plain.cuh"
#include "kernels/correlation_tensor_cores.cuh"

#define FLOW_PLAIN(name, T)                                                                     \
  extern "C" __global__ void flow_correlation_plain_##name(                                     \
      const T* f1, const T* f2, int32_t channels, int32_t height, int32_t width,                \
      int32_t max_displacement, int32_t stride_2, int32_t chunk, T* out) {                      \
    flow::plain_forward<T>(f1, f2, channels, height, width, max_displacement, stride_2, chunk,  \
                           out);                                                                \
  }                                                                                             \
  extern "C" __global__ void __launch_bounds__(256) flow_correlation_gradient1_##name(          \
      const T* grad_out, const T* f2, int32_t channels, int32_t height, int32_t width,          \
      int32_t max_displacement, int32_t stride_2, T* grad_f1) {                                 \
    flow::plain_gradient<T, false>(grad_out, f2, channels, height, width, max_displacement,     \
                                   stride_2, grad_f1);                                          \
  }                                                                                             \
  extern "C" __global__ void __launch_bounds__(256) flow_correlation_gradient2_##name(          \
      const T* grad_out, const T* f1, int32_t channels, int32_t height, int32_t width,          \
      int32_t max_displacement, int32_t stride_2, T* grad_f2) {                                 \
    flow::plain_gradient<T, true>(grad_out, f1, channels, height, width, max_displacement,      \
                                  stride_2, grad_f2);                                           \
  }                                                                                             \
  extern "C" __global__ void __launch_bounds__(32) flow_correlation_classic_##name(             \
      const T* f1, const T* f2, int32_t channels, int32_t height, int32_t width,                \
      int32_t max_displacement, int32_t stride_2, T* out) {                                     \
    flow::classic_forward<T>(f1, f2, channels, height, width, max_displacement, stride_2, out); \
  }

FLOW_PLAIN(fp32, float)
FLOW_PLAIN(fp16, __half)
FLOW_PLAIN(bf16, __nv_bfloat16)

// Turing has neither these instructions nor bf16: an empty kernel there, which is never launched.
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
#define FLOW_TENSOR_BODY(T, stride, tiles)                                                         \
  flow::banded_product<T, stride, tiles>(f1, f2, channels, height, width, max_displacement, steps, \
                                         out)
#else
#define FLOW_TENSOR_BODY(T, stride, tiles)
#endif

// Two blocks a multiprocessor while the registers allow it.
#define FLOW_TENSOR(name, T, stride, tiles)                                              \
  extern "C" __global__ void __launch_bounds__(flow::kTensorThreads, tiles <= 5 ? 2 : 1) \
      flow_correlation_tensor_##name##_s##stride##_t##tiles(                             \
          const T* f1, const T* f2, int32_t channels, int32_t height, int32_t width,     \
          int32_t max_displacement, int32_t steps, T* out) {                             \
    FLOW_TENSOR_BODY(T, stride, tiles);                                                  \
  }

#define FLOW_TENSORS(name, T) \
  FLOW_TENSOR(name, T, 1, 4)  \
  FLOW_TENSOR(name, T, 1, 8)  \
  FLOW_TENSOR(name, T, 2, 5)

FLOW_TENSORS(fp16, __half)
FLOW_TENSORS(bf16, __nv_bfloat16)

namespace flow {
namespace {

constexpr int kMostGrid = 65535;        // along y and z
constexpr int kMostShared = 48 * 1024;  // without asking the driver for more

int32_t launch(const void* kernel, dim3 grid, int threads, size_t shared, void** parameters,
               cudaStream_t stream) {
  if (grid.y > kMostGrid || grid.z > kMostGrid) return FLOW_TOO_LARGE;
  const cudaError_t error =
      cudaLaunchKernel(kernel, grid, dim3(threads), parameters, shared, stream);
  return error == cudaSuccess ? FLOW_OK : FLOW_CUDA_ERROR + static_cast<int32_t>(error);
}

template <typename Kernel>
const void* address(Kernel* kernel) {
  return reinterpret_cast<const void*>(kernel);
}

#define FLOW_BY_DTYPE(kernel)                            \
  (args.dtype == FLOW_FLOAT32   ? address(kernel##_fp32) \
   : args.dtype == FLOW_FLOAT16 ? address(kernel##_fp16) \
                                : address(kernel##_bf16))

int blocks(int size, int block) { return (size + block - 1) / block; }

#define FLOW_TENSOR_KERNELS(suffix)                                            \
  (args.dtype == FLOW_FLOAT16 ? address(flow_correlation_tensor_fp16_##suffix) \
                              : address(flow_correlation_tensor_bf16_##suffix))

// Null where the tensor-core path does not go.
const void* tensor_kernel(const FlowCorrelation& args) {
  if (args.dtype == FLOW_FLOAT32 || args.channels > kTensorMostChannels) return nullptr;
  if (args.stride_2 > 2) return nullptr;
  const int tiles = tensor_tiles(args.max_displacement / args.stride_2, args.stride_2);
  if (args.stride_2 == 2) return tiles <= 5 ? FLOW_TENSOR_KERNELS(s2_t5) : nullptr;
  if (tiles <= 4) return FLOW_TENSOR_KERNELS(s1_t4);
  return tiles <= 8 ? FLOW_TENSOR_KERNELS(s1_t8) : nullptr;
}

int32_t tensor_forward(const FlowCorrelation& args, int multiprocessors, const void* f1,
                       const void* f2, void* out, cudaStream_t stream) {
  FlowCorrelation a = args;
  const int rows = 2 * (a.max_displacement / a.stride_2) + 2;  // of f2, for a pair of rows of f1
  const int pairs = blocks(a.height, 2 * a.stride_2) * a.stride_2;
  const int columns = blocks(a.width, kTensorColumns);
  // About two blocks a multiprocessor; each takes some of a pair's rows of f2.
  const int64_t wanted = 2 * multiprocessors / (int64_t{pairs} * columns * a.batch) + 1;
  int32_t steps = blocks(rows, static_cast<int>(wanted < rows ? wanted : rows));
  const dim3 grid(columns, pairs * blocks(rows, steps), a.batch);
  void* parameters[] = {&f1,    &f2, &a.channels, &a.height, &a.width, &a.max_displacement,
                        &steps, &out};
  return launch(tensor_kernel(a), grid, kTensorThreads, 0, parameters, stream);
}

int32_t plain_forward(const FlowCorrelation& args, const void* f1, const void* f2, void* out,
                      cudaStream_t stream) {
  FlowCorrelation a = args;
  const PlainLayout layout(a.max_displacement, a.stride_2);
  const int count = 2 * (a.max_displacement / a.stride_2) + 1;
  int32_t chunk = kMostShared / layout.bytes_per_channel();
  if (chunk > kPlainChunk) chunk = kPlainChunk;
  if (chunk < 1 || layout.quads * layout.groups > 1024) return FLOW_TOO_LARGE;
  void* parameters[] = {&f1,         &f2,    &a.channels, &a.height, &a.width, &a.max_displacement,
                        &a.stride_2, &chunk, &out};
  return launch(FLOW_BY_DTYPE(flow_correlation_plain),
                dim3(blocks(a.width, layout.columns), a.height, a.batch * count),
                layout.quads * layout.groups, chunk * layout.bytes_per_channel(), parameters,
                stream);
}

int32_t classic_forward(const FlowCorrelation& args, const void* f1, const void* f2, void* out,
                        cudaStream_t stream) {
  FlowCorrelation a = args;
  void* parameters[] = {&f1,         &f2, &a.channels, &a.height, &a.width, &a.max_displacement,
                        &a.stride_2, &out};
  return launch(FLOW_BY_DTYPE(flow_correlation_classic), dim3(a.width, a.height, a.batch), 32,
                a.channels * sizeof(float), parameters, stream);
}

int32_t gradient(const FlowCorrelation& args, bool second, const void* grad_out,
                 const void* features, void* grad, cudaStream_t stream) {
  FlowCorrelation a = args;
  const size_t shared =
      sizeof(float) * kGradientChannels * (kGradientColumns + 2 * a.max_displacement);
  if (shared > kMostShared) return FLOW_TOO_LARGE;
  void* parameters[] = {&grad_out, &features,           &a.channels, &a.height,
                        &a.width,  &a.max_displacement, &a.stride_2, &grad};
  return launch(second ? FLOW_BY_DTYPE(flow_correlation_gradient2)
                       : FLOW_BY_DTYPE(flow_correlation_gradient1),
                dim3(blocks(a.width, kGradientColumns), a.height,
                     a.batch * blocks(a.channels, kGradientChannels)),
                kGradientColumns * kGradientWarps, shared, parameters, stream);
}

cudaError_t attribute(int* value, cudaDeviceAttr name) {
  int device = 0;
  const cudaError_t error = cudaGetDevice(&device);
  return error == cudaSuccess ? cudaDeviceGetAttribute(value, name, device) : error;
}

}  // namespace
}  // namespace flow

int32_t flow_correlation_cuda_forward(const FlowCorrelation* args, const void* f1, const void* f2,
                                      void* out, void* stream) {
  using namespace flow;
  const int32_t status = check(*args);
  if (status != FLOW_OK) return status;
  const cudaStream_t on = static_cast<cudaStream_t>(stream);
  switch (args->variant) {
    case FLOW_CUDA_PLAIN:
      return plain_forward(*args, f1, f2, out, on);
    case FLOW_CUDA_CLASSIC:
      return classic_forward(*args, f1, f2, out, on);
    case FLOW_AUTO:
    case FLOW_CUDA_TENSOR_CORES:
      break;
    default:
      return FLOW_BAD_VARIANT;
  }
  int capability = 0, multiprocessors = 0;
  cudaError_t error = attribute(&capability, cudaDevAttrComputeCapabilityMajor);
  if (error == cudaSuccess) error = attribute(&multiprocessors, cudaDevAttrMultiProcessorCount);
  if (error != cudaSuccess) return FLOW_CUDA_ERROR + static_cast<int32_t>(error);
  if (capability >= 8 && tensor_kernel(*args) != nullptr) {
    return tensor_forward(*args, multiprocessors, f1, f2, out, on);
  }
  if (args->variant == FLOW_CUDA_TENSOR_CORES) return FLOW_BAD_VARIANT;
  return plain_forward(*args, f1, f2, out, on);
}

int32_t flow_correlation_cuda_backward(const FlowCorrelation* args, const void* grad_out,
                                       const void* f1, const void* f2, void* grad_f1, void* grad_f2,
                                       void* stream) {
  int32_t status = flow::check(*args);
  const cudaStream_t on = static_cast<cudaStream_t>(stream);
  if (status == FLOW_OK && grad_f1 != nullptr) {
    status = flow::gradient(*args, false, grad_out, f2, grad_f1, on);
  }
  if (status == FLOW_OK && grad_f2 != nullptr) {
    status = flow::gradient(*args, true, grad_out, f1, grad_f2, on);
  }
  return status;
}

const char* flow_correlation_cuda_message(int32_t status) {
  if (status < FLOW_CUDA_ERROR) return flow::message(status);
  return cudaGetErrorString(static_cast<cudaError_t>(status - FLOW_CUDA_ERROR));
}
