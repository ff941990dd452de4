// The last rows of some planes: what a band of rows needs of itself while it goes on.

#ifndef FLOW_KERNELS_RECENT_ROWS_H_
#define FLOW_KERNELS_RECENT_ROWS_H_

#include <cstddef>
#include <memory>
#include <vector>

#include "kernels/rows.h"

namespace flow {

constexpr size_t kAligned = 16;  // numbers of a cache line

// Half a row of each of some planes: the numbers at even x, or those at odd x. Each has room for
// one number before it and for kAligned behind it.
struct HalfRow {
  float* first;
  size_t pitch;

  float* operator[](size_t plane) const { return first + plane * pitch; }
};

// Both halves of a row.
struct Row {
  HalfRow even, odd;

  const HalfRow& operator[](size_t parity) const { return parity == 0 ? even : odd; }
};

// The last rows of some planes, zeros at first: row y is kept until row y + kept is written.
class RecentRows {
 public:
  RecentRows(size_t planes, const SplitRows& shape, size_t kept)
      : planes_(planes),
        width_(shape.width),
        kept_(kept),
        pitch_(kAligned + (shape.half() + kAligned) / kAligned * kAligned),
        data_(kept * 2 * planes * pitch_ + kAligned) {
    void* first = data_.data() + kAligned - 1;
    size_t space = kAligned * 2 * sizeof(float);
    first_ = static_cast<float*>(std::align(kAligned * sizeof(float), sizeof(float), first, space));
  }

  Row operator[](size_t y) {
    float* first = first_ + y % kept_ * 2 * planes_ * pitch_;
    return {{first, pitch_}, {first + planes_ * pitch_, pitch_}};
  }

  // Repeats the pixels at the border of a row beyond it.
  void repeat_border(const Row& row) const {
    for (size_t plane = 0; plane < planes_; ++plane) {
      float *even = row.even[plane], *odd = row.odd[plane];
      odd[-1] = even[0];
      if (width_ % 2 == 0) {
        even[width_ / 2] = odd[width_ / 2 - 1];
      } else {
        odd[width_ / 2] = even[width_ / 2];
      }
    }
  }

 private:
  size_t planes_, width_, kept_, pitch_;
  std::vector<float> data_;
  float* first_;
};

}  // namespace flow

#endif  // FLOW_KERNELS_RECENT_ROWS_H_
