// C interface of the correlation operator (its meaning: kernels/__init__.py).
//
// Arrays are contiguous NCHW. The output has (2 * max_displacement / stride_2 + 1)^2 channels. Sums
// are kept in fp32 whatever the type of the arrays. Functions return FLOW_OK or a code that the
// message function of the same library explains; they keep no state between calls.

#ifndef FLOW_KERNELS_CORRELATION_H_
#define FLOW_KERNELS_CORRELATION_H_

#include <stdint.h>

// The libraries hide everything but these functions.
#define FLOW_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

enum FlowDtype { FLOW_FLOAT32 = 0, FLOW_FLOAT16 = 1, FLOW_BFLOAT16 = 2 };

// Which implementation runs. AUTO takes the fastest that this machine and these arguments allow; a
// named one that cannot run is an error.
enum FlowVariant {
  FLOW_AUTO = 0,
  FLOW_CPU_BASELINE = 1,
  FLOW_CPU_AVX2 = 2,
  FLOW_CPU_AVX512 = 3,
  FLOW_CUDA_PLAIN = 11,
  FLOW_CUDA_TENSOR_CORES = 12,
  // One thread block per pixel, as in the published implementations; reads f1 and f2 as NHWC
  // (their rearrangement is the caller's). Forward only, for comparison.
  FLOW_CUDA_CLASSIC = 13,
};

enum FlowStatus {
  FLOW_OK = 0,
  FLOW_BAD_SHAPE = 1,         // a dimension below 1, or more than 2^31 - 1 elements in one image
  FLOW_BAD_DISPLACEMENT = 2,  // max_displacement < 0, or not a multiple of stride_2 >= 1
  FLOW_BAD_DTYPE = 3,         // not one of FlowDtype; the CPU library takes FLOW_FLOAT32 only
  FLOW_BAD_VARIANT = 4,       // this machine or these arguments do not allow the named variant
  FLOW_TOO_LARGE = 5,         // batch, image or displacement range too large for the kernels
  FLOW_NO_MEMORY = 6,
  FLOW_CUDA_ERROR = 1000,  // plus the cudaError_t
};

typedef struct FlowCorrelation {
  int32_t dtype;    // FlowDtype of every array
  int32_t variant;  // FlowVariant
  int32_t threads;  // CPU: number of threads, 0 for OpenMP's default; CUDA: unused
  int32_t batch;
  int32_t channels;
  int32_t height;
  int32_t width;
  int32_t max_displacement;
  int32_t stride_2;
} FlowCorrelation;

enum { FLOW_MOST_SCALARS = 6 };

// A launch of one kernel, for those who start it by name from the PTX. Its arguments are the two
// inputs, the scalars in this order, the output.
typedef struct FlowLaunch {
  const char* kernel;  // its C name, which lives as long as the library
  int32_t grid_x;
  int32_t grid_y;
  int32_t grid_z;
  int32_t block_x;       // threads of a block; 1 along y and z
  int32_t shared_bytes;  // dynamic shared memory of a block
  int32_t scalar_count;
  int32_t scalars[FLOW_MOST_SCALARS];
} FlowLaunch;

FLOW_API int32_t flow_correlation_cpu_forward(const FlowCorrelation* args, const void* f1,
                                              const void* f2, void* out);

// Either gradient may be NULL; what is given is overwritten.
FLOW_API int32_t flow_correlation_cpu_backward(const FlowCorrelation* args, const void* grad_out,
                                               const void* f1, const void* f2, void* grad_f1,
                                               void* grad_f2);

FLOW_API const char* flow_correlation_cpu_message(int32_t status);

// Device pointers of the current device; `stream` is a cudaStream_t, the launch is asynchronous.
FLOW_API int32_t flow_correlation_cuda_forward(const FlowCorrelation* args, const void* f1,
                                               const void* f2, void* out, void* stream);

// The forward pass's launch on a GPU of compute capability `capability`.x with so many
// multiprocessors (the result does not depend on them, the speed does). Arithmetic alone: needs no
// GPU.
FLOW_API int32_t flow_correlation_cuda_launch(const FlowCorrelation* args, int32_t capability,
                                              int32_t multiprocessors, FlowLaunch* launch);

// What the function above wants to know of the current device.
FLOW_API int32_t flow_correlation_cuda_device(int32_t* capability, int32_t* multiprocessors);

FLOW_API int32_t flow_correlation_cuda_backward(const FlowCorrelation* args, const void* grad_out,
                                                const void* f1, const void* f2, void* grad_f1,
                                                void* grad_f2, void* stream);

FLOW_API const char* flow_correlation_cuda_message(int32_t status);

#ifdef __cplusplus
}
#endif

#endif  // FLOW_KERNELS_CORRELATION_H_
