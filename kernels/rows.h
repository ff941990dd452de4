// How planes of numbers are stored.

#ifndef FLOW_KERNELS_ROWS_H_
#define FLOW_KERNELS_ROWS_H_

#include <algorithm>
#include <cstddef>

namespace flow {

// Of each row the numbers at even x, then those at odd x, so that a neighbour along x is in the
// other half. Where the width is odd, the last number of a row is unused.
struct SplitRows {
  size_t height, width;

  size_t half() const { return (width + 1) / 2; }
  size_t pitch() const { return 2 * half(); }
  size_t numbers() const { return height * pitch(); }
};

// Whole rows with a margin around the plane, on which the numbers at its border are repeated. A
// pointer to the plane is one to the first number inside.
struct PaddedRows {
  static constexpr size_t kMargin = 9;  // a patch of 8x8 pixels beside the image, interpolated

  size_t height, width;

  size_t pitch() const { return width + 2 * kMargin; }
  size_t first() const { return kMargin * pitch() + kMargin; }
  size_t numbers() const { return (height + 2 * kMargin) * pitch(); }

  PaddedRows halved() const { return {(height + 1) / 2, (width + 1) / 2}; }

  // Sets the margin beside row y, and that above or below where it is the first or the last one.
  void repeat_border(float* plane, size_t y) const {
    float* const begin = plane + y * pitch() - kMargin;
    std::fill_n(begin, kMargin, begin[kMargin]);
    std::fill_n(begin + kMargin + width, kMargin, begin[kMargin + width - 1]);
    for (size_t beyond = 1; beyond <= kMargin; ++beyond) {
      if (y == 0) std::copy_n(begin, pitch(), begin - beyond * pitch());
      if (y + 1 == height) std::copy_n(begin, pitch(), begin + beyond * pitch());
    }
  }
};

}  // namespace flow

#endif  // FLOW_KERNELS_ROWS_H_
