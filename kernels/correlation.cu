// The CUDA home of the correlation: one entry point per kernel, with C names, so that the PTX of
// this file can be launched by name too, and the host functions of correlation.h that choose one.
//
// Entry points take inputs, then int32 scalars, then outputs, and need no workspace: the order that
// TensorRT's ahead-of-time plugins prescribe. Each kernel's file tells its grid and block.

#include <cuda_runtime.h>

#include <algorithm>
#include <initializer_list>

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

struct Kernel {
  const char* name;
  const void* address;
};

struct Launch : FlowLaunch {
  const void* address;
};

#define FLOW_KERNEL(name) (Kernel{#name, reinterpret_cast<const void*>(name)})

#define FLOW_BY_DTYPE(kernel)                                \
  (args.dtype == FLOW_FLOAT32   ? FLOW_KERNEL(kernel##_fp32) \
   : args.dtype == FLOW_FLOAT16 ? FLOW_KERNEL(kernel##_fp16) \
                                : FLOW_KERNEL(kernel##_bf16))

#define FLOW_TENSOR_KERNEL(suffix)                                                 \
  (args.dtype == FLOW_FLOAT16 ? FLOW_KERNEL(flow_correlation_tensor_fp16_##suffix) \
                              : FLOW_KERNEL(flow_correlation_tensor_bf16_##suffix))

struct Grid {
  int64_t x, y, z;
};

int32_t describe(Launch* launch, const Kernel& kernel, const Grid& grid, int threads,
                 int64_t shared, std::initializer_list<int32_t> scalars) {
  if (grid.x > INT32_MAX || grid.y > kMostGrid || grid.z > kMostGrid || shared > kMostShared) {
    return FLOW_TOO_LARGE;
  }
  launch->address = kernel.address;
  launch->kernel = kernel.name;
  launch->grid_x = static_cast<int32_t>(grid.x);
  launch->grid_y = static_cast<int32_t>(grid.y);
  launch->grid_z = static_cast<int32_t>(grid.z);
  launch->block_x = threads;
  launch->shared_bytes = static_cast<int32_t>(shared);
  launch->scalar_count = static_cast<int32_t>(scalars.size());
  std::copy(scalars.begin(), scalars.end(), launch->scalars);
  return FLOW_OK;
}

int32_t start(Launch launch, const void* first, const void* second, void* out,
              cudaStream_t stream) {
  void* parameters[FLOW_MOST_SCALARS + 3] = {&first, &second};
  for (int i = 0; i < launch.scalar_count; ++i) parameters[2 + i] = &launch.scalars[i];
  parameters[2 + launch.scalar_count] = &out;
  const dim3 grid(launch.grid_x, launch.grid_y, launch.grid_z);
  const cudaError_t error = cudaLaunchKernel(launch.address, grid, dim3(launch.block_x), parameters,
                                             launch.shared_bytes, stream);
  return error == cudaSuccess ? FLOW_OK : FLOW_CUDA_ERROR + static_cast<int32_t>(error);
}

int64_t blocks(int64_t size, int64_t block) { return (size + block - 1) / block; }

// Without an address where the tensor-core path does not go.
Kernel tensor_kernel(const FlowCorrelation& args) {
  constexpr Kernel kNone = {nullptr, nullptr};
  if (args.dtype == FLOW_FLOAT32 || args.channels > kTensorMostChannels) return kNone;
  if (args.stride_2 > 2) return kNone;
  const int tiles = tensor_tiles(args.max_displacement / args.stride_2, args.stride_2);
  if (args.stride_2 == 2) return tiles <= 5 ? FLOW_TENSOR_KERNEL(s2_t5) : kNone;
  if (tiles <= 4) return FLOW_TENSOR_KERNEL(s1_t4);
  return tiles <= 8 ? FLOW_TENSOR_KERNEL(s1_t8) : kNone;
}

int32_t tensor_forward(const FlowCorrelation& args, int multiprocessors, Launch* launch) {
  const int64_t rows = 2 * (args.max_displacement / args.stride_2) + 2;  // of f2, for a pair of f1
  const int64_t pairs = blocks(args.height, 2 * args.stride_2) * args.stride_2;
  const int64_t columns = blocks(args.width, kTensorColumns);
  // About two blocks a multiprocessor; each takes some of a pair's rows of f2.
  const int64_t wanted =
      2 * int64_t{std::max(multiprocessors, 1)} / (pairs * columns * args.batch) + 1;
  const int64_t steps = blocks(rows, std::min(wanted, rows));
  return describe(
      launch, tensor_kernel(args), {columns, pairs * blocks(rows, steps), args.batch},
      kTensorThreads, 0,
      {args.channels, args.height, args.width, args.max_displacement, static_cast<int32_t>(steps)});
}

int32_t plain_forward(const FlowCorrelation& args, Launch* launch) {
  const PlainLayout layout(args.max_displacement, args.stride_2);
  const int64_t count = 2 * (args.max_displacement / args.stride_2) + 1;
  const int chunk = std::min(kMostShared / layout.bytes_per_channel(), kPlainChunk);
  if (chunk < 1 || layout.quads * layout.groups > 1024) return FLOW_TOO_LARGE;
  return describe(
      launch, FLOW_BY_DTYPE(flow_correlation_plain),
      {blocks(args.width, layout.columns), args.height, args.batch * count},
      layout.quads * layout.groups, chunk * layout.bytes_per_channel(),
      {args.channels, args.height, args.width, args.max_displacement, args.stride_2, chunk});
}

int32_t classic_forward(const FlowCorrelation& args, Launch* launch) {
  return describe(launch, FLOW_BY_DTYPE(flow_correlation_classic),
                  {args.width, args.height, args.batch}, 32, args.channels * int64_t{sizeof(float)},
                  {args.channels, args.height, args.width, args.max_displacement, args.stride_2});
}

int32_t forward(const FlowCorrelation& args, int capability, int multiprocessors, Launch* launch) {
  switch (args.variant) {
    case FLOW_CUDA_PLAIN:
      return plain_forward(args, launch);
    case FLOW_CUDA_CLASSIC:
      return classic_forward(args, launch);
    case FLOW_AUTO:
    case FLOW_CUDA_TENSOR_CORES:
      if (capability >= 8 && tensor_kernel(args).address != nullptr) {
        return tensor_forward(args, multiprocessors, launch);
      }
      return args.variant == FLOW_AUTO ? plain_forward(args, launch) : FLOW_BAD_VARIANT;
    default:
      return FLOW_BAD_VARIANT;
  }
}

int32_t gradient(const FlowCorrelation& args, bool second, Launch* launch) {
  const int64_t channel_blocks = blocks(args.channels, kGradientChannels);
  return describe(
      launch,
      second ? FLOW_BY_DTYPE(flow_correlation_gradient2)
             : FLOW_BY_DTYPE(flow_correlation_gradient1),
      {blocks(args.width, kGradientColumns), args.height, args.batch * channel_blocks},
      kGradientColumns * kGradientWarps,
      int64_t{sizeof(float)} * kGradientChannels * (kGradientColumns + 2 * args.max_displacement),
      {args.channels, args.height, args.width, args.max_displacement, args.stride_2});
}

int32_t run_gradient(const FlowCorrelation& args, bool second, const void* grad_out,
                     const void* features, void* grad, cudaStream_t stream) {
  Launch launch;
  const int32_t status = gradient(args, second, &launch);
  return status == FLOW_OK ? start(launch, grad_out, features, grad, stream) : status;
}

}  // namespace
}  // namespace flow

int32_t flow_correlation_cuda_forward(const FlowCorrelation* args, const void* f1, const void* f2,
                                      void* out, void* stream) {
  int32_t capability = 0, multiprocessors = 0;
  flow::Launch launch;
  int32_t status = flow::check(*args);
  if (status == FLOW_OK) status = flow_correlation_cuda_device(&capability, &multiprocessors);
  if (status == FLOW_OK) status = flow::forward(*args, capability, multiprocessors, &launch);
  if (status != FLOW_OK) return status;
  return flow::start(launch, f1, f2, out, static_cast<cudaStream_t>(stream));
}

int32_t flow_correlation_cuda_launch(const FlowCorrelation* args, int32_t capability,
                                     int32_t multiprocessors, FlowLaunch* launch) {
  flow::Launch found;
  int32_t status = flow::check(*args);
  if (status == FLOW_OK) status = flow::forward(*args, capability, multiprocessors, &found);
  if (status == FLOW_OK) *launch = found;
  return status;
}

int32_t flow_correlation_cuda_device(int32_t* capability, int32_t* multiprocessors) {
  int device = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) {
    error = cudaDeviceGetAttribute(capability, cudaDevAttrComputeCapabilityMajor, device);
  }
  if (error == cudaSuccess) {
    error = cudaDeviceGetAttribute(multiprocessors, cudaDevAttrMultiProcessorCount, device);
  }
  return error == cudaSuccess ? FLOW_OK : FLOW_CUDA_ERROR + static_cast<int32_t>(error);
}

int32_t flow_correlation_cuda_backward(const FlowCorrelation* args, const void* grad_out,
                                       const void* f1, const void* f2, void* grad_f1, void* grad_f2,
                                       void* stream) {
  int32_t status = flow::check(*args);
  const cudaStream_t on = static_cast<cudaStream_t>(stream);
  if (status == FLOW_OK && grad_f1 != nullptr) {
    status = flow::run_gradient(*args, false, grad_out, f2, grad_f1, on);
  }
  if (status == FLOW_OK && grad_f2 != nullptr) {
    status = flow::run_gradient(*args, true, grad_out, f1, grad_f2, on);
  }
  return status;
}

const char* flow_correlation_cuda_message(int32_t status) {
  if (status < FLOW_CUDA_ERROR) return flow::message(status);
  return cudaGetErrorString(static_cast<cudaError_t>(status - FLOW_CUDA_ERROR));
}
