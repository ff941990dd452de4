// A double of libnvinfer and libcudart: what a test asks of it, and what it has seen. Its "network"
// computes a flow that a test can compute, too; work on a stream is done when it is waited for.

#ifndef FLOW_TESTS_CAPI_TENSORRT_DOUBLE_H_
#define FLOW_TESTS_CAPI_TENSORRT_DOUBLE_H_

#include <NvInferRuntime.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

struct Double {
  // Asked for.
  int fail_at = 0;  // the number of the call that fails; 0: none
  int gpus = 1;
  int major = NV_TENSORRT_MAJOR;
  bool starts = true;
  std::string plan = "plan";  // the content that opens
  std::vector<std::pair<std::string, nvinfer1::DataType>> tensors = {
      {"image2", nvinfer1::DataType::kUINT8},
      {"image1", nvinfer1::DataType::kUINT8},
      {"flow", nvinfer1::DataType::kFLOAT}};
  int flow_channels = 2;

  // Seen.
  int calls = 0;                      // that can fail
  int alive = 0;                      // objects, streams and pieces of memory
  int contexts = 0;                   // execution contexts made
  bool has_lost_gpu = false;          // a GPU could not be made current
  std::set<int> devices;              // current during allocations
  std::vector<std::string> plugins;   // contents of loaded libraries
  std::vector<std::string> paths;     // of loaded libraries
  std::vector<std::string> mistakes;  // calls that the real libraries would refuse or crash on
};

// The state; reset by assignment, while nothing is alive.
extern Double the_double;

// The images that the plan's profile accepts: batch, height and width.
constexpr int64_t kSmallest[] = {1, 64, 64}, kBest[] = {1, 128, 192}, kLargest[] = {4, 192, 256};

// The flow of two RGB pixels.
inline float flow_x(const uint8_t* first, const uint8_t* second) {
  return first[0] - 2.f * second[1];
}
inline float flow_y(const uint8_t* first, const uint8_t* second) {
  return first[2] + 3.f * second[0];
}

#endif  // FLOW_TESTS_CAPI_TENSORRT_DOUBLE_H_
