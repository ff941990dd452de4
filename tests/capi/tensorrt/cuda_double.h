// What the double's two parts share.

#ifndef FLOW_TESTS_CAPI_TENSORRT_CUDA_DOUBLE_H_
#define FLOW_TESTS_CAPI_TENSORRT_CUDA_DOUBLE_H_

#include <cuda_runtime_api.h>

#include <functional>
#include <mutex>

#include "double.h"

extern std::recursive_mutex lock;  // of the state
using Guard = std::lock_guard<std::recursive_mutex>;

struct CUstream_st {
  std::vector<std::function<void()>> work;
  std::vector<const void*> used;  // memory of the work
};

// Call the following ones with the lock held.

void mistake(const std::string& what);
bool fails();  // counts a call; whether it is the one that fails
bool is_on_device(const void* address, size_t bytes);
int current_device();
void enqueue(cudaStream_t stream, std::vector<const void*> used, std::function<void()> work);

#endif  // FLOW_TESTS_CAPI_TENSORRT_CUDA_DOUBLE_H_
