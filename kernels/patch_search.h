// Search for patches of the first image in the second one, from a flow that is known roughly.
// engine/refinement/patches.py is the same in numpy, with what each part is from.

#ifndef FLOW_KERNELS_PATCH_SEARCH_H_
#define FLOW_KERNELS_PATCH_SEARCH_H_

#include <cstddef>
#include <vector>

#include "kernels/rows.h"

namespace flow {

// A patch, of 8x8 pixels, and what it is known to match.
struct Patch {
  // A motion in pixels, x then y, and how the images differ there: the sum of the squared
  // differences less their mean, and of the differences times the derivatives.
  struct Match {
    float x, y, squared, along_x, along_y;
  };

  Match best;
  float given_x, given_y, given_squared;  // the motion of the flow
  // Sums of the derivatives, of their products less those of their means, and of the squared
  // pixels less their mean.
  float sum_x, sum_y, xx, xy, yy, variance;
  bool searched, settled, accepted;
};

// The patches of a pair at one resolution, one at each fourth pixel along x and y.
//
// The result does not depend on how rows and columns are divided.
class PatchSearch {
 public:
  // A flow of the whole resolution, and how often this one halves it.
  struct Given {
    const float* flow;  // (height, width, 2)
    size_t height, width, halvings;
  };

  // Images: as `shape` says, 0 to 255. Patches: as many as `count`, of any value.
  PatchSearch(const PaddedRows& shape, const float* first, const float* second, Patch* patches);

  static size_t count(const PaddedRows& shape);

  size_t rows() const { return rows_; }
  size_t columns() const { return columns_; }

  // In this order; thread-safe. `along_rows` needs no other row of the step before it; each other
  // step needs the whole of that.

  // Begins with the given flow, or with what was found at half the resolution, if that fits better.
  // Only where that is an improvement, patches are searched.
  void begin(const Given& given, const PatchSearch* coarser, size_t begin, size_t end);
  // Lets matches spread along rows, then along columns, and improves each.
  void along_rows(size_t begin, size_t end);
  void along_columns(size_t begin, size_t end);
  // At the whole resolution: accepts the matches that are much better than the given flow, and
  // whose neighbours are and move alike.
  void accept(size_t begin, size_t end);
  // Writes rows of (rows + 1, columns + 1, 2): for each 4x4 pixels, how much the accepted matches
  // change the flow.
  void changes(size_t begin, size_t end, float* changes) const;

 private:
  // The up to four patches over 4x4 pixels: the weighted mean of their matches, whether one of them
  // is an improvement, and the least squared difference of the given flow.
  struct Around {
    float x, y;
    bool improved;
    float given_squared;
  };

  // Sets those of a row of 4x4 pixels.
  void around(size_t row, std::vector<Around>& around) const;
  int support(size_t row, size_t column) const;

  PaddedRows shape_;
  const float *first_, *second_;
  Patch* patches_;
  size_t rows_, columns_;
};

}  // namespace flow

#endif  // FLOW_KERNELS_PATCH_SEARCH_H_
