// Variational refinement of a flow: the method of Brox et al., "High Accuracy Optical Flow
// Estimation Based on a Theory for Warping" (ECCV 2004), from a flow that is known nearly.
// engine/refinement/plain.py is the same in numpy, with what each part is from.

#ifndef FLOW_KERNELS_VARIATIONAL_H_
#define FLOW_KERNELS_VARIATIONAL_H_

#include <cstddef>

#include "kernels/rows.h"

namespace flow {

// One round at one resolution: warps the second image by the flow and moves the flow towards the
// least energy.
//
// Sums are in a fixed order: the same bits with every instruction set and however the rows are
// divided.
struct VariationalRound {
  SplitRows shape;
  const float* first;   // grey image, 0 to 255, as `shape` says
  const float* second;  // likewise, but as `padded()` says
  const float* flow;    // two planes as `shape` says: x, then y, in pixels
  float* refined;       // likewise; other memory

  PaddedRows padded() const { return {shape.height, shape.width}; }

  // Writes rows [begin, end) of `refined`; thread-safe.
  void rows(size_t begin, size_t end) const;
};

}  // namespace flow

#endif  // FLOW_KERNELS_VARIATIONAL_H_
