#include "kernels/remaining_motion.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "kernels/lanes.h"

namespace flow {
namespace {

// As in training/networks/refinement.py.
constexpr float kDamping = 0.005f, kNoise = 0.03f, kLargest = 2.0f;

constexpr size_t kMaps = 2, kPlaces = 4, kPlanes = kMaps * kPlaces;
// Sums over a window: products of the gradients, of these and the difference, and the difference.
constexpr size_t kSums = 6;

// Rows of some planes around one; every third takes the same memory. Before each is room for one
// number, and behind it for whole Lanes.
class Rows {
 public:
  Rows(size_t planes, size_t width)
      : planes_(planes), pitch_(width + kLanes + 2), data_(3 * planes * pitch_) {}

  float* at(size_t y, size_t plane) {
    return data_.data() + (y % 3 * planes_ + plane) * pitch_ + 1;
  }

 private:
  size_t planes_, pitch_;
  std::vector<float> data_;
};

float clamped(float place, float last) {
  return std::min(std::max(0.0f, place), last);  // 0 for NaN
}

template <typename Numbers>
FLOW_INLINE Numbers mixed(Numbers one, Numbers other, float share) {
  return one + share * (other - one);
}

// Two neighbours of the first map and two of the second.
typedef float Both __attribute__((vector_size(4 * sizeof(float))));

FLOW_INLINE Both both(const float* pixel, size_t map) {
  return Both{pixel[0], pixel[1], pixel[map], pixel[map + 1]};
}

// Warps row y of the cells of both maps. Coordinates are clamped to the border.
FLOW_CLONES
void warp_row(const RemainingMotion& of, size_t y, float* const moved[kPlanes]) {
  const size_t height = 2 * of.height, width = 2 * of.width, map = height * width;
  const float last_y = static_cast<float>(height - 1), last_x = static_cast<float>(width - 1);
  const float* flow_x = of.flow + y * of.width;
  const float* flow_y = flow_x + of.height * of.width;
  for (size_t x = 0; x < of.width; ++x) {
    const float to_y = static_cast<float>(2 * y) + flow_y[x];
    const float to_x = static_cast<float>(2 * x) + flow_x[x];
    if (to_y >= 0 && to_x >= 0 && to_y < last_y - 1 && to_x < last_x - 1) {
      const size_t top = static_cast<size_t>(to_y), left = static_cast<size_t>(to_x);
      const float down = to_y - static_cast<float>(top), right = to_x - static_cast<float>(left);
      const float* pixels = of.second + top * width + left;
      Both rows[3];
      for (size_t row = 0; row < 3; ++row) {
        const float* three = pixels + row * width;
        rows[row] = mixed(both(three, map), both(three + 1, map), right);
      }
      const Both above = mixed(rows[0], rows[1], down), below = mixed(rows[1], rows[2], down);
      for (size_t column = 0; column < 2; ++column) {
        moved[column][x] = above[column], moved[2 + column][x] = below[column];
        moved[4 + column][x] = above[2 + column], moved[6 + column][x] = below[2 + column];
      }
      continue;
    }
    for (size_t place = 0; place < kPlaces; ++place) {
      const float place_y = clamped(to_y + static_cast<float>(place / 2), last_y);
      const float place_x = clamped(to_x + static_cast<float>(place % 2), last_x);
      const size_t top = static_cast<size_t>(place_y), left = static_cast<size_t>(place_x);
      const float down = place_y - static_cast<float>(top);
      const float right = place_x - static_cast<float>(left);
      const size_t below = top + 1 < height ? width : 0, beside = left + 1 < width ? 1 : 0;
      const float* pixel = of.second + top * width + left;
      for (size_t plane = place; plane < kPlanes; plane += kPlaces, pixel += map) {
        moved[plane][x] = mixed(mixed(pixel[0], pixel[beside], right),
                                mixed(pixel[below], pixel[below + beside], right), down);
      }
    }
  }
}

// Of row y, the difference of both images, and their sum, to be differentiated.
FLOW_CLONES
void compare_row(const RemainingMotion& of, size_t y, Rows& differences, Rows& totals) {
  const size_t width = of.width;
  for (size_t plane = 0; plane < kPlanes; ++plane) {
    const float* first = of.first + (plane * of.height + y) * width;
    float* __restrict difference = differences.at(y, plane);
    float* __restrict total = totals.at(y, plane);
    for (size_t x = 0; x < width; ++x) {
      const float moved = total[x];
      difference[x] = moved - first[x];
      total[x] = first[x] + moved;
    }
  }
  // Beyond the border its pixels are repeated.
  for (size_t plane = 0; plane < kPlanes; plane += 2) {
    totals.at(y, plane + 1)[-1] = totals.at(y, plane)[0];
    totals.at(y, plane)[width] = totals.at(y, plane + 1)[width - 1];
  }
}

// The weighted products of row y, which the windows sum.
FLOW_CLONES
void product_row(const RemainingMotion& of, size_t y, Rows& differences, Rows& totals, Rows& sums) {
  float* out[kSums];
  for (size_t sum = 0; sum < kSums; ++sum) out[sum] = sums.at(y, sum);
  const float *t[kPlanes], *x_high[kPlanes], *x_low[kPlanes], *y_high[kPlanes], *y_low[kPlanes];
  for (size_t plane = 0; plane < kPlanes; ++plane) {
    const bool right = plane % 2 == 1, bottom = plane / 2 % 2 == 1;
    t[plane] = differences.at(y, plane);
    // The neighbours along x: both of the other column, one of them in the cell beside.
    x_high[plane] = right ? totals.at(y, plane - 1) + 1 : totals.at(y, plane + 1);
    x_low[plane] = right ? totals.at(y, plane - 1) : totals.at(y, plane + 1) - 1;
    const size_t other = bottom ? plane - 2 : plane + 2;
    y_high[plane] = !bottom             ? totals.at(y, other)
                    : y + 1 < of.height ? totals.at(y + 1, other)
                                        : totals.at(y, plane);
    y_low[plane] = bottom  ? totals.at(y, other)
                   : y > 0 ? totals.at(y - 1, other)
                           : totals.at(y, plane);
  }
  for (size_t i = 0; i < of.width; i += kLanes) {
    Lanes xx = {}, xy = {}, yy = {}, xt = {}, yt = {}, differs = {};
    for (size_t plane = 0; plane < kPlanes; ++plane) {
      const Lanes x = lanes(x_high[plane] + i) - lanes(x_low[plane] + i);
      const Lanes y = lanes(y_high[plane] + i) - lanes(y_low[plane] + i);
      const Lanes left = lanes(t[plane] + i);
      xx += x * x, xy += x * y, yy += y * y;
      xt += x * left, yt += y * left;
      differs += left < 0 ? -left : left;
    }
    differs /= kPlanes;
    const Lanes weight = 1 / (differs + kNoise);
    // x and y are four times the mean of both images' derivatives, and a cell has four pixels.
    const Lanes products[] = {xx / 64 * weight, xy / 64 * weight, yy / 64 * weight,
                              xt / 16 * weight, yt / 16 * weight, differs * weight};
    for (size_t sum = 0; sum < kSums; ++sum) lanes(out[sum] + i) = products[sum];
  }
  // Nothing is outside.
  for (float* const row : out) row[-1] = row[of.width] = 0;
}

// The natural logarithm of positive normal numbers, to 1e-7 (the polynomial of Cephes' logf).
FLOW_INLINE Lanes log_of(const Lanes& values) {
  typedef int32_t Bits __attribute__((vector_size(sizeof(Lanes)), aligned(4), may_alias));
  constexpr int32_t kRoot = 0x3f3504f3;  // of 1/2; the mantissa is between it and that of 2
  const Bits bits = reinterpret_cast<const Bits&>(values) - kRoot;
  const Lanes exponent = __builtin_convertvector(bits >> 23, Lanes);
  const Bits mantissa = (bits & 0x007fffff) + kRoot;
  const Lanes x = reinterpret_cast<const Lanes&>(mantissa) - 1;
  Lanes sum = x * 7.0376836292e-2f;
  for (const float coefficient :
       {-1.1514610310e-1f, 1.1676998740e-1f, -1.2420140846e-1f, 1.4249322787e-1f, -1.6668057665e-1f,
        2.0000714765e-1f, -2.4999993993e-1f}) {
    sum = (sum + coefficient) * x;
  }
  sum = (sum + 3.3333331174e-1f) * x * x * x;
  return x + (sum + exponent * -2.12194440e-4f - x * x / 2) + exponent * 0.693359375f;
}

FLOW_INLINE Lanes within(const Lanes& motion) {
  const Lanes low = motion < -kLargest ? Lanes{} - kLargest : motion;
  return low > kLargest ? Lanes{} + kLargest : low;
}

// Solves the normal equations of row y.
FLOW_CLONES
void solve_row(const RemainingMotion& of, size_t y, Rows& sums) {
  const float* rows[kSums][3];
  for (size_t sum = 0; sum < kSums; ++sum) {
    for (size_t row = 0; row < 3; ++row) rows[sum][row] = sums.at(y + row + 2, sum);
  }
  for (size_t x = 0; x < of.width; x += kLanes) {
    Lanes means[kSums];
    for (size_t sum = 0; sum < kSums; ++sum) {
      const auto column = [&](size_t i) FLOW_ALWAYS_INLINE {
        return lanes(rows[sum][0] + i) + lanes(rows[sum][1] + i) + lanes(rows[sum][2] + i);
      };
      means[sum] = (column(x - 1) + column(x) + column(x + 1)) / 9;
    }
    const Lanes xx = means[0] + kDamping, xy = means[1], yy = means[2] + kDamping;
    const Lanes xt = means[3], yt = means[4];
    const Lanes determinant = xx * yy - xy * xy, trace = xx + yy;
    const Lanes measured[kMeasured] = {within((xy * yt - yy * xt) / determinant),
                                       within((xy * xt - xx * yt) / determinant),
                                       4 * determinant / (trace * trace), log_of(trace), means[5]};
    for (size_t plane = 0; plane < kMeasured; ++plane) {
      std::memcpy(of.measured + (plane * of.height + y) * of.width + x, &measured[plane],
                  std::min(kLanes, of.width - x) * sizeof(float));
    }
  }
}

}  // namespace

void RemainingMotion::rows(size_t begin, size_t end) const {
  Rows totals(kPlanes, width), differences(kPlanes, width), sums(kSums, width);
  const size_t first_product = begin > 0 ? begin - 1 : 0;
  const size_t last_product = std::min(end + 1, height);
  size_t compared = first_product > 0 ? first_product - 1 : 0;
  // Row -1 and `height` of the sums are zero; each product needs the rows around it.
  for (size_t y = first_product; y < end + 1; ++y) {
    for (; compared < std::min(y + 2, height); ++compared) {
      float* moved[kPlanes];
      for (size_t plane = 0; plane < kPlanes; ++plane) moved[plane] = totals.at(compared, plane);
      warp_row(*this, compared, moved);
      compare_row(*this, compared, differences, totals);
    }
    if (y < last_product) {
      product_row(*this, y, differences, totals, sums);
    } else {
      for (size_t sum = 0; sum < kSums; ++sum) std::fill_n(sums.at(y, sum), width, 0.0f);
    }
    if (y > begin) solve_row(*this, y - 1, sums);
  }
}

}  // namespace flow
