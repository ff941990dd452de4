// The double's part of libcudart.

#include "cuda_double.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>

Double the_double;

namespace {

thread_local int current = 0;
thread_local cudaError_t last = cudaSuccess;
std::map<const char*, size_t> on_device, pinned;  // by address
std::set<cudaStream_t> streams;

cudaError_t failed(cudaError_t error) { return last = error; }

bool is_inside(const std::map<const char*, size_t>& blocks, const void* address, size_t bytes) {
  const char* const start = static_cast<const char*>(address);
  const auto after = blocks.upper_bound(start);
  if (after == blocks.begin()) return false;
  const auto& [block, size] = *std::prev(after);
  return start + bytes <= block + size;
}

cudaError_t allocate(void** data, size_t bytes, std::map<const char*, size_t>& blocks) {
  const Guard guard(lock);
  if (fails()) return failed(cudaErrorMemoryAllocation);
  constexpr size_t kAlignment = 256;
  *data = std::aligned_alloc(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
  std::memset(*data, 0xff, bytes);  // NaN
  blocks[static_cast<char*>(*data)] = bytes;
  ++the_double.alive;
  the_double.devices.insert(current);
  return cudaSuccess;
}

cudaError_t release(void* data, std::map<const char*, size_t>& blocks) {
  const Guard guard(lock);
  if (data == nullptr) return cudaSuccess;
  if (blocks.erase(static_cast<char*>(data)) == 0) mistake("freed what was not allocated");
  for (cudaStream_t stream : streams) {
    const auto& used = stream->used;
    if (std::find(used.begin(), used.end(), data) != used.end()) mistake("freed while in use");
  }
  std::free(data);
  --the_double.alive;
  return cudaSuccess;
}

}  // namespace

std::recursive_mutex lock;

void mistake(const std::string& what) { the_double.mistakes.push_back(what); }

bool fails() { return ++the_double.calls == the_double.fail_at; }

bool is_on_device(const void* address, size_t bytes) {
  return is_inside(on_device, address, bytes);
}

int current_device() { return current; }

void enqueue(cudaStream_t stream, std::vector<const void*> used, std::function<void()> work) {
  if (streams.count(stream) == 0) mistake("work on a stream that does not exist");
  stream->used.insert(stream->used.end(), used.begin(), used.end());
  stream->work.push_back(std::move(work));
}

cudaError_t cudaGetDeviceCount(int* count) {
  const Guard guard(lock);
  if (fails() || the_double.gpus == 0) return failed(cudaErrorNoDevice);
  *count = the_double.gpus;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  const Guard guard(lock);
  if (fails()) return failed(cudaErrorInvalidDevice);
  *properties = {};
  std::strcpy(properties->name, "NVIDIA L4");
  properties->major = 8;
  properties->minor = 9;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  const Guard guard(lock);
  if (fails()) {
    the_double.has_lost_gpu = true;
    return failed(cudaErrorInitializationError);
  }
  *device = current;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  const Guard guard(lock);
  // Going back to the test's own GPU does not fail: nobody could do anything about it.
  if (device != 0 && fails()) {
    the_double.has_lost_gpu = true;
    return failed(cudaErrorDevicesUnavailable);
  }
  current = device;
  return cudaSuccess;
}

cudaError_t cudaGetLastError() { return std::exchange(last, cudaSuccess); }

cudaError_t cudaPeekAtLastError() { return last; }

const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorNoDevice           ? "no CUDA-capable device is detected"
         : error == cudaErrorMemoryAllocation ? "out of memory"
                                              : "another error";
}

cudaError_t cudaMalloc(void** data, size_t bytes) { return allocate(data, bytes, on_device); }
cudaError_t cudaMallocHost(void** data, size_t bytes) { return allocate(data, bytes, pinned); }
cudaError_t cudaFree(void* data) { return release(data, on_device); }
cudaError_t cudaFreeHost(void* data) { return release(data, pinned); }

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  const Guard guard(lock);
  if (fails()) return failed(cudaErrorMemoryAllocation);
  if (flags != cudaStreamNonBlocking) mistake("a stream that waits for the default stream");
  *stream = new CUstream_st;
  streams.insert(*stream);
  ++the_double.alive;
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const Guard guard(lock);
  if (streams.erase(stream) == 0) mistake("destroyed what is no stream");
  if (!stream->work.empty()) mistake("a stream destroyed before it has finished");
  delete stream;
  --the_double.alive;
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  const Guard guard(lock);
  if (fails()) return failed(cudaErrorInvalidValue);
  const bool up = kind == cudaMemcpyHostToDevice;
  if (!up && kind != cudaMemcpyDeviceToHost) mistake("a copy in another direction");
  if (!is_on_device(up ? to : from, bytes)) mistake("a copy beyond the memory of the device");
  if (!up && !is_inside(pinned, to, bytes)) mistake("a copy beyond pinned memory");
  enqueue(stream, {to, from}, [=] { std::memcpy(to, from, bytes); });
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const Guard guard(lock);
  const bool failing = fails();
  for (const auto& work : stream->work) work();  // what was queued before runs, also then
  stream->work.clear();
  stream->used.clear();
  return failing ? failed(cudaErrorLaunchFailure) : cudaSuccess;
}
