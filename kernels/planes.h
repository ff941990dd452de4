// What `training.networks` computes of whole images before it measures motion. Sums are in a fixed
// order, as in remaining_motion.h.

#ifndef FLOW_KERNELS_PLANES_H_
#define FLOW_KERNELS_PLANES_H_

#include <cstddef>
#include <cstdint>

namespace flow {

// An image, (height, width, 3) of 8 bits.
struct Pixels {
  const uint8_t* numbers;
  size_t height, width;

  // Means of 4x4 pixels: row y of the three planes of `quartered`, (3, height / 4, width / 4), as
  // `training.networks.downsampling.quarter_pixels`.
  void quarter(size_t y, float* quartered) const;
};

// A plane of numbers, float32, contiguous.
struct Plane {
  const float* numbers;
  size_t height, width;

  // Means of 2x2 pixels: row y of `halved`, (height / 2, width / 2), as
  // `training.networks.downsampling.halve_images`.
  void halve(size_t y, float* halved) const;

  // Derivatives along x and y: row y of each, (height, width), as
  // `training.networks.refinement.derivatives`.
  void differentiate(size_t y, float* along_x, float* along_y) const;
};

}  // namespace flow

#endif  // FLOW_KERNELS_PLANES_H_
