// The motion that a flow leaves over: one step of Lucas and Kanade on the warped second image, as
// `training.networks.refinement.remaining_motion`.
//
// Sums are in a fixed order and products are not fused into them: the result is the same bit for
// bit with every instruction set and number of threads.

#ifndef FLOW_KERNELS_REMAINING_MOTION_H_
#define FLOW_KERNELS_REMAINING_MOTION_H_

#include <cstddef>

namespace flow {

// Planes of the result: motion along x and y, roundness, logarithm of the gradient energy,
// difference of the images.
constexpr int kMeasured = 5;

// One pair of images, float32, contiguous; `height` and `width` count cells of 2x2 pixels.
struct RemainingMotion {
  const float* flow;    // (2, height, width), in pixels
  const float* first;   // (2, 2, 2, height, width): map, row and column in the cell, cells
  const float* second;  // (2, 2 height, 2 width)
  float* measured;      // (kMeasured, height, width)
  size_t height, width;

  // Computes the rows [begin, end) of the result.
  void rows(size_t begin, size_t end) const;
};

}  // namespace flow

#endif  // FLOW_KERNELS_REMAINING_MOTION_H_
