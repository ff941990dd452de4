#include "kernels/variational.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "kernels/lanes.h"
#include "kernels/recent_rows.h"

namespace flow {
namespace {

// As in engine/refinement/plain.py.
constexpr float kSmoothness = 1.7f, kEdge = 20.0f, kLeastEdge = 0.02f;
constexpr float kNoise = 0.1f, kLeast = 0.001f, kStay = 1e-6f, kRelaxation = 1.95f;
constexpr size_t kSweeps = 8;

// Each sweep updates one colour of the checkerboard, then the other.
constexpr size_t kColours = 2, kHalfSweeps = kColours * kSweeps;
// Rows around a row that its result depends on: two for second derivatives, one for each half
// sweep.
constexpr size_t kAround = 2 + kHalfSweeps;

// The neighbours of the numbers of half a row.
struct Around {
  const float *left, *right, *above, *below;

  // Of a plane, from rows y - 1, y and y + 1.
  Around(const Row& over, const Row& row, const Row& under, size_t parity, size_t plane)
      : left(row[1 - parity][plane] + parity - 1),
        right(row[1 - parity][plane] + parity),
        above(over[parity][plane]),
        below(under[parity][plane]) {}
};

// Where half a row of the flow leads in the second image: the upper left one of the four pixels
// around, and how far right and down of it. Beyond the border it is on it.
struct Places {
  int32_t* pixel;
  float *right, *down;
};

FLOW_CLONES
void place_row(const VariationalRound& of, size_t y, size_t parity, const float* flow_x,
               const float* flow_y, const Places& places) {
  const SplitRows& shape = of.shape;
  const int32_t width = static_cast<int32_t>(shape.width);
  const int32_t height = static_cast<int32_t>(shape.height);
  const int32_t pitch = static_cast<int32_t>(of.padded().pitch());
  const int32_t begin = static_cast<int32_t>(parity);
  const int32_t count = (width + 1 - begin) / 2;
  const float last_x = static_cast<float>(width - 1), last_y = static_cast<float>(height - 1);
  const float row = static_cast<float>(y);
  int32_t* __restrict pixel = places.pixel;
  float* __restrict right = places.right;
  float* __restrict down = places.down;
  for (int32_t i = 0; i < count; ++i) {
    // 0 for NaN
    const float to_x =
        std::min(std::max(0.0f, static_cast<float>(2 * i + begin) + flow_x[i]), last_x);
    const float to_y = std::min(std::max(0.0f, row + flow_y[i]), last_y);
    const int32_t left = static_cast<int32_t>(to_x), top = static_cast<int32_t>(to_y);
    pixel[i] = top * pitch + left;
    right[i] = to_x - static_cast<float>(left);
    down[i] = to_y - static_cast<float>(top);
  }
}

// Of the second image, the pixels around each place: two above, then two below.
void gather_row(const VariationalRound& of, size_t count, const int32_t* pixels,
                float* __restrict around) {
  const size_t pitch = of.padded().pitch();
  for (size_t i = 0; i < count; ++i) {
    const float* pixel = of.second + pixels[i];
    std::memcpy(around + 4 * i, pixel, 2 * sizeof(float));
    std::memcpy(around + 4 * i + 2, pixel + pitch, 2 * sizeof(float));
  }
}

// The second image, warped by the flow: its mean with the first image, and the difference.
FLOW_CLONES
void warp_row(size_t count, const float* first, const float* around, const float* right,
              const float* down, float* __restrict mean, float* __restrict difference) {
  FLOW_INDEPENDENT
  for (size_t i = 0; i < count; ++i) {
    const float* pixel = around + 4 * i;
    const float upper = pixel[0] + right[i] * (pixel[1] - pixel[0]);
    const float lower = pixel[2] + right[i] * (pixel[3] - pixel[2]);
    const float moved = upper + down[i] * (lower - upper);
    mean[i] = (first[i] + moved) / 2;
    difference[i] = moved - first[i];
  }
}

// Central differences along x and y.
FLOW_CLONES
void derive_row(size_t count, const Around& of, float* __restrict along_x,
                float* __restrict along_y) {
  const float *left = of.left, *right = of.right, *above = of.above, *below = of.below;
  FLOW_INDEPENDENT
  for (size_t i = 0; i < count; ++i) {
    along_x[i] = (right[i] - left[i]) / 2;
    along_y[i] = (below[i] - above[i]) / 2;
  }
}

// How strongly the flow is smoothed: the weaker, the more it changes there.
FLOW_CLONES
void smooth_row(size_t count, const Around& flow_x, const Around& flow_y,
                float* __restrict weights) {
  const float *left_x = flow_x.left, *right_x = flow_x.right;
  const float *above_x = flow_x.above, *below_x = flow_x.below;
  const float *left_y = flow_y.left, *right_y = flow_y.right;
  const float *above_y = flow_y.above, *below_y = flow_y.below;
  FLOW_INDEPENDENT
  for (size_t i = 0; i < count; ++i) {
    const float xx = (right_x[i] - left_x[i]) / 2, xy = (below_x[i] - above_x[i]) / 2;
    const float yx = (right_y[i] - left_y[i]) / 2, yy = (below_y[i] - above_y[i]) / 2;
    const float squared = (xx * xx + xy * xy) + (yx * yx + yy * yy);
    weights[i] = kSmoothness / std::sqrt(squared + kLeast * kLeast);
  }
}

// Weights between pixels and their neighbours to the right, or below.
FLOW_CLONES
void neighbour_row(size_t count, const float* image, const float* next_image, const float* weights,
                   const float* next_weights, float* __restrict between) {
  FLOW_INDEPENDENT
  for (size_t i = 0; i < count; ++i) {
    const float edge = (next_image[i] - image[i]) * (1 / kEdge);
    between[i] = (weights[i] + next_weights[i]) / 2 * (1 / (1 + edge * edge) + kLeastEdge);
  }
}

// A pixel's equations, to be solved for its flow: smoothness draws it towards its neighbours', and
// the images towards where their gradients are equal.
enum Equation : size_t {
  kScaleX,
  kScaleY,
  kMixed,
  kConstantX,
  kConstantY,
  kBeside,
  kBelow,
  kX,
  kY
};
constexpr size_t kEquation = 9;

// What an equation is made from.
struct Parts {
  Around along_x, along_y;                    // derivatives of the mean of both images
  const float *change_x, *change_y;           // of their difference
  const float *weights_left, *weights_above;  // of the neighbours to the pixels
};

FLOW_CLONES
void equation_row(size_t count, const Parts& of, const HalfRow& out) {
  const float *x_left = of.along_x.left, *x_right = of.along_x.right;
  const float *y_left = of.along_y.left, *y_right = of.along_y.right;
  const float *y_above = of.along_y.above, *y_below = of.along_y.below;
  const float *change_x = of.change_x, *change_y = of.change_y;
  const float *weights_left = of.weights_left, *weights_above = of.weights_above;
  const float *weights_right = out[kBeside], *weights_below = out[kBelow];
  const float *flow_x = out[kX], *flow_y = out[kY];
  float* __restrict scale_x = out[kScaleX];
  float* __restrict scale_y = out[kScaleY];
  float* __restrict mixed = out[kMixed];
  float* __restrict constant_x = out[kConstantX];
  float* __restrict constant_y = out[kConstantY];
  FLOW_INDEPENDENT
  for (size_t i = 0; i < count; ++i) {
    const float xx = (x_right[i] - x_left[i]) / 2;
    const float xy = (y_right[i] - y_left[i]) / 2;
    const float yy = (y_below[i] - y_above[i]) / 2;
    const float xt = change_x[i], yt = change_y[i];
    // Each constraint relative to its gradient: a distance in pixels.
    const float square_x = xx * xx + xy * xy + kNoise * kNoise;
    const float square_y = xy * xy + yy * yy + kNoise * kNoise;
    // The weights of plain.py, brought to one fraction.
    const float product = square_x * square_y;
    const float differs = xt * xt * square_y + yt * yt * square_x + kLeast * kLeast * product;
    const float share = 1 / std::sqrt(product * differs);
    const float weight_x = square_y * share, weight_y = square_x * share;
    const float a = weight_x * xx * xx + weight_y * xy * xy + kStay;
    const float b = weight_x * xx * xy + weight_y * xy * yy;
    const float c = weight_x * xy * xy + weight_y * yy * yy + kStay;
    const float neighbours =
        weights_left[i] + weights_right[i] + weights_above[i] + weights_below[i];
    const float total_x = a + neighbours, total_y = c + neighbours;
    const float scale = kRelaxation / (total_x * total_y);  // one division in place of two
    mixed[i] = b;
    scale_x[i] = total_y * scale;
    scale_y[i] = total_x * scale;
    constant_x[i] = a * flow_x[i] + b * flow_y[i] - (weight_x * xx * xt + weight_y * xy * yt);
    constant_y[i] = b * flow_x[i] + c * flow_y[i] - (weight_x * xy * xt + weight_y * yy * yt);
  }
}

// A step of successive over-relaxation of one colour of a row, which is half of it.
struct Step {
  HalfRow own;
  const float *weights_left, *weights_above;  // of the neighbours to the pixels
  const float *left_x, *left_y;               // their flow; that to the right follows it
  const float *above_x, *above_y, *below_x, *below_y;
};

FLOW_CLONES
void relax(const Step& of, size_t count) {
  // In variables of their own: what is written could else be one of the pointers.
  const float *scale_x = of.own[kScaleX], *scale_y = of.own[kScaleY], *mixed = of.own[kMixed];
  const float *constant_x = of.own[kConstantX], *constant_y = of.own[kConstantY];
  const float *weights_right = of.own[kBeside], *weights_below = of.own[kBelow];
  const float *weights_left = of.weights_left, *weights_above = of.weights_above;
  const float *left_x = of.left_x, *left_y = of.left_y, *above_x = of.above_x;
  const float *above_y = of.above_y, *below_x = of.below_x, *below_y = of.below_y;
  float *to_x = of.own[kX], *to_y = of.own[kY];
  // As whole registers of any instruction set: behind the last pixel is room for some more.
  const size_t rounded = (count + kAligned - 1) / kAligned * kAligned;
  FLOW_INDEPENDENT
  for (size_t i = 0; i < rounded; ++i) {
    const float left = weights_left[i], right = weights_right[i];
    const float above = weights_above[i], below = weights_below[i];
    const float x = to_x[i], y = to_y[i], mix = mixed[i];
    const float sum_x = constant_x[i] + left * left_x[i] + right * left_x[i + 1] +
                        above * above_x[i] + below * below_x[i];
    const float new_x = (sum_x - mix * y) * scale_x[i] - (kRelaxation - 1) * x;
    const float sum_y = constant_y[i] + left * left_y[i] + right * left_y[i + 1] +
                        above * above_y[i] + below * below_y[i];
    to_x[i] = new_x;
    to_y[i] = (sum_y - mix * new_x) * scale_y[i] - (kRelaxation - 1) * y;
  }
}

// A band of rows, which goes through all parts of a round: each part is as many rows behind the one
// before as it needs, so that all fit into the cache.
class Band {
 public:
  explicit Band(const VariationalRound& of)
      : of_(of),
        shape_(of.shape),
        pixels_(shape_.half()),
        around_(4 * shape_.half()),
        right_(shape_.half()),
        down_(shape_.half()),
        images_(2, shape_, 3),
        gradients_(4, shape_, 3),
        weights_(1, shape_, 2),
        equations_(kEquation, shape_, kKept) {}

  void rows(size_t begin, size_t end) {
    const size_t first = begin > kAround ? begin - kAround : 0;
    const size_t last = std::min(end + kAround, shape_.height);
    for (size_t row = first; row < last + kBehind + kHalfSweeps; ++row) {
      const auto within = [&](size_t behind) {
        return row >= first + behind && row < last + behind;
      };
      if (within(0)) warp(row);
      if (within(1)) derive(row - 1), smooth(row - 1);
      if (within(2)) equations(row - 2);
      for (size_t half = 0; half < kHalfSweeps; ++half) {
        if (within(kBehind + half)) relax_row(row - kBehind - half, half);
      }
      const size_t behind = kBehind + kHalfSweeps - 1;
      if (within(behind) && row - behind >= begin && row - behind < end) write(row - behind);
    }
  }

 private:
  static constexpr size_t kBehind = 3;  // the first half sweep behind the warp
  // Rows of equations: those of the half sweeps, and those before and behind them.
  static constexpr size_t kKept = kBehind + kHalfSweeps + 1;

  size_t above(size_t y) const { return y > 0 ? y - 1 : 0; }
  size_t below(size_t y) const { return std::min(y + 1, shape_.height - 1); }
  size_t count(size_t parity) const { return (shape_.width + 1 - parity) / 2; }

  void warp(size_t y) {
    const Row flow = equations_[y], images = images_[y];
    for (size_t parity = 0; parity < 2; ++parity) {
      const float* first = of_.first + y * shape_.pitch() + parity * shape_.half();
      const float* from = of_.flow + y * shape_.pitch() + parity * shape_.half();
      float *flow_x = flow[parity][kX], *flow_y = flow[parity][kY];
      std::copy_n(from, count(parity), flow_x);
      std::copy_n(from + shape_.numbers(), count(parity), flow_y);
      place_row(of_, y, parity, flow_x, flow_y, {pixels_.data(), right_.data(), down_.data()});
      gather_row(of_, count(parity), pixels_.data(), around_.data());
      warp_row(count(parity), first, around_.data(), right_.data(), down_.data(), images[parity][0],
               images[parity][1]);
    }
    images_.repeat_border(images);
    equations_.repeat_border(flow);
  }

  void derive(size_t y) {
    const Row over = images_[above(y)], row = images_[y], under = images_[below(y)];
    const Row along = gradients_[y];
    for (size_t parity = 0; parity < 2; ++parity) {
      for (size_t image = 0; image < 2; ++image) {
        derive_row(count(parity), {over, row, under, parity, image}, along[parity][2 * image],
                   along[parity][2 * image + 1]);
      }
    }
    gradients_.repeat_border(along);
  }

  void smooth(size_t y) {
    const Row over = equations_[above(y)], row = equations_[y], under = equations_[below(y)];
    const Row weights = weights_[y];
    for (size_t parity = 0; parity < 2; ++parity) {
      smooth_row(count(parity), {over, row, under, parity, kX}, {over, row, under, parity, kY},
                 weights[parity][0]);
    }
    weights_.repeat_border(weights);
  }

  void equations(size_t y) {
    const Row out = equations_[y], over = equations_[y > 0 ? y - 1 : kKept - 1];
    neighbours(y, out);
    const Row along = gradients_[y], along_above = gradients_[above(y)];
    const Row along_below = gradients_[below(y)];
    for (size_t parity = 0; parity < 2; ++parity) {
      equation_row(count(parity),
                   {{along_above, along, along_below, parity, 0},
                    {along_above, along, along_below, parity, 1},
                    along[parity][2],
                    along[parity][3],
                    out[1 - parity][kBeside] + parity - 1,
                    over[parity][kBelow]},
                   out[parity]);
    }
  }

  // The weights between row y and the next one, and between its pixels.
  void neighbours(size_t y, const Row& out) {
    const Row weights = weights_[y], next_weights = weights_[below(y)];
    const float* image = of_.first + y * shape_.pitch();
    for (size_t parity = 0; parity < 2; ++parity) {
      const float* own = image + parity * shape_.half();
      const float* right = image + (1 - parity) * shape_.half() + parity;
      neighbour_row(count(parity), own, right, weights[parity][0], weights[1 - parity][0] + parity,
                    out[parity][kBeside]);
      if (y + 1 < shape_.height) {
        neighbour_row(count(parity), own, own + shape_.pitch(), weights[parity][0],
                      next_weights[parity][0], out[parity][kBelow]);
      } else {
        std::fill_n(out[parity][kBelow], count(parity), 0.0f);
      }
    }
    const size_t last = shape_.width - 1;
    out.odd[kBeside][-1] = out[last % 2][kBeside][last / 2] = 0;
  }

  void relax_row(size_t y, size_t half) {
    const size_t parity = (y + half) % kColours;
    // Above the first row is one that is not written yet: its weights are zero.
    const Row row = equations_[y], over = equations_[y > 0 ? y - 1 : kKept - 1];
    const Row under = equations_[below(y)];
    const Around flow_x(over, row, under, parity, kX), flow_y(over, row, under, parity, kY);
    const Step step = {row[parity],          row[1 - parity][kBeside] + parity - 1,
                       over[parity][kBelow], flow_x.left,
                       flow_y.left,          flow_x.above,
                       flow_y.above,         flow_x.below,
                       flow_y.below};
    relax(step, count(parity));
  }

  void write(size_t y) {
    const Row row = equations_[y];
    for (size_t parity = 0; parity < 2; ++parity) {
      float* to = of_.refined + y * shape_.pitch() + parity * shape_.half();
      std::copy_n(row[parity][kX], count(parity), to);
      std::copy_n(row[parity][kY], count(parity), to + shape_.numbers());
    }
  }

  const VariationalRound& of_;
  const SplitRows shape_;
  std::vector<int32_t> pixels_;
  std::vector<float> around_, right_, down_;
  RecentRows images_, gradients_, weights_, equations_;
};

}  // namespace

void VariationalRound::rows(size_t begin, size_t end) const { Band(*this).rows(begin, end); }

}  // namespace flow
