// Checks and messages that the CPU and the CUDA library share.

#ifndef FLOW_KERNELS_CORRELATION_ARGUMENTS_H_
#define FLOW_KERNELS_CORRELATION_ARGUMENTS_H_

#include <cstdint>

#include "kernels/correlation.h"

namespace flow {

inline int32_t check(const FlowCorrelation& args) {
  constexpr int64_t kMost = INT32_MAX;
  if (args.batch < 1 || args.channels < 1 || args.height < 1 || args.width < 1) {
    return FLOW_BAD_SHAPE;
  }
  if (args.max_displacement < 0 || args.stride_2 < 1 ||
      args.max_displacement % args.stride_2 != 0) {
    return FLOW_BAD_DISPLACEMENT;
  }
  if (args.max_displacement > 4096 || args.stride_2 > 4096) return FLOW_TOO_LARGE;
  const int64_t count = 2 * (args.max_displacement / args.stride_2) + 1;
  const int64_t planes = args.channels > count * count ? args.channels : count * count;
  const int64_t plane = int64_t{args.height} * args.width;
  if (plane > kMost || planes * plane > kMost) return FLOW_BAD_SHAPE;
  if (args.dtype < FLOW_FLOAT32 || args.dtype > FLOW_BFLOAT16) return FLOW_BAD_DTYPE;
  return FLOW_OK;
}

inline const char* message(int32_t status) {
  switch (status) {
    case FLOW_OK:
      return "ok";
    case FLOW_BAD_SHAPE:
      return "a dimension is below 1, or one image has more than 2^31 - 1 elements";
    case FLOW_BAD_DISPLACEMENT:
      return "max_displacement must be a non-negative multiple of stride_2, and stride_2 at least "
             "1";
    case FLOW_BAD_DTYPE:
      return "expected float32 (on CUDA also float16 or bfloat16)";
    case FLOW_BAD_VARIANT:
      return "this machine or these arguments do not allow the variant that was asked for";
    case FLOW_TOO_LARGE:
      return "the batch, the image or the displacement range is too large for the kernels";
    case FLOW_NO_MEMORY:
      return "out of memory";
    default:
      return "unknown status";
  }
}

}  // namespace flow

#endif  // FLOW_KERNELS_CORRELATION_ARGUMENTS_H_
