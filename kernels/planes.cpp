#include "kernels/planes.h"

#include <algorithm>
#include <vector>

#include "kernels/lanes.h"

namespace flow {
namespace {

FLOW_CLONES
void halve_row(const Plane& of, size_t y, float* __restrict halved) {
  const float* above = of.numbers + 2 * y * of.width;
  const float* below = above + of.width;
  float* __restrict row = halved + y * (of.width / 2);
  for (size_t x = 0; x < of.width / 2; ++x) {
    row[x] = ((above[2 * x] + above[2 * x + 1]) + (below[2 * x] + below[2 * x + 1])) / 4;
  }
}

// Sums of 4x4 pixels. One begins at each byte; of each colour, every twelfth is used.
FLOW_CLONES
void add_pixels(const uint8_t* rows, size_t count, uint16_t* __restrict columns,
                uint16_t* __restrict sums) {
  for (size_t i = 0; i < count; ++i) {
    columns[i] = static_cast<uint16_t>(rows[i] + rows[count + i] + rows[2 * count + i] +
                                       rows[3 * count + i]);
  }
  for (size_t i = 0; i + 9 < count; ++i) {
    sums[i] = static_cast<uint16_t>(columns[i] + columns[i + 3] + columns[i + 6] + columns[i + 9]);
  }
}

// Central differences over five pixels, smoothed by (1, 2, 1) across, times 32.
FLOW_CLONES
void differentiate_row(const Plane& of, size_t y, float* __restrict along_x,
                       float* __restrict along_y) {
  const size_t width = of.width, last = of.height - 1;
  const auto row = [&](size_t index) { return of.numbers + std::min(index, last) * width; };
  // Beyond the border its pixels are repeated.
  const float *first = row(y < 2 ? 0 : y - 2), *second = row(y < 1 ? 0 : y - 1), *middle = row(y);
  const float *fourth = row(y + 1), *fifth = row(y + 2);
  along_x += y * width, along_y += y * width;
  const auto smooth = [&](size_t x) { return second[x] + 2 * middle[x] + fourth[x]; };
  const auto change = [&](size_t x) { return (fifth[x] - first[x]) + 2 * (fourth[x] - second[x]); };
  const auto set = [&](size_t x, size_t left2, size_t left, size_t right, size_t right2) {
    along_x[x] = (smooth(right2) - smooth(left2)) + 2 * (smooth(right) - smooth(left));
    along_y[x] = change(left) + 2 * change(x) + change(right);
  };
  const size_t end = width > 2 ? width - 2 : 0;
  for (size_t x = 2; x < end; ++x) set(x, x - 2, x - 1, x + 1, x + 2);
  for (size_t x = 0; x < width; x = x == 1 ? std::max<size_t>(end, 2) : x + 1) {
    set(x, x < 2 ? 0 : x - 2, x < 1 ? 0 : x - 1, std::min(x + 1, width - 1),
        std::min(x + 2, width - 1));
  }
}

}  // namespace

void Pixels::quarter(size_t y, float* quartered) const {
  const size_t columns = width / 4, plane = height / 4 * columns;
  std::vector<uint16_t> both(2 * 3 * width);
  uint16_t* const sums = both.data() + 3 * width;
  add_pixels(numbers + 4 * y * 3 * width, 3 * width, both.data(), sums);
  for (size_t colour = 0; colour < 3; ++colour) {
    float* row = quartered + colour * plane + y * columns;
    for (size_t x = 0; x < columns; ++x) row[x] = static_cast<float>(sums[12 * x + colour]) / 16;
  }
}

void Plane::halve(size_t y, float* halved) const { halve_row(*this, y, halved); }

void Plane::differentiate(size_t y, float* along_x, float* along_y) const {
  differentiate_row(*this, y, along_x, along_y);
}

}  // namespace flow
