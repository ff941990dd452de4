// Refinement of the flow of a pair of images by the images, from coarse to fine.

#ifndef FLOW_KERNELS_REFINEMENT_H_
#define FLOW_KERNELS_REFINEMENT_H_

#include <cstddef>
#include <cstdint>

namespace flow {

struct Refinement {
  const uint8_t *first, *second;  // (height, width, 3) RGB
  const float* flow;              // (height, width, 2) in pixels, x then y
  float* refined;                 // likewise; may be the same memory
  size_t height, width;

  // Searches for patches, then refines at half the resolution and at the whole one, in some
  // threads. The result does not depend on their number. Throws std::bad_alloc, and
  // std::system_error where a thread cannot be started. The calling thread keeps memory and threads
  // for its next call, until it ends.
  void run(size_t threads) const;
};

}  // namespace flow

#endif  // FLOW_KERNELS_REFINEMENT_H_
