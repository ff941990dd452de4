#include "kernels/variational.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "kernels/lanes.h"

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

// Some planes of a row. Each has room for one number before it and behind it.
struct Row {
  float* first;
  size_t pitch;

  float* operator[](size_t plane) const { return first + plane * pitch; }
};

// The last rows of some planes, zeros at first: row y is kept until row y + kept is written.
class Rows {
 public:
  Rows(size_t planes, size_t width, size_t kept)
      : planes_(planes), kept_(kept), pitch_(width + 2), data_(kept * planes * pitch_) {}

  Row operator[](size_t y) { return {data_.data() + y % kept_ * planes_ * pitch_ + 1, pitch_}; }

 private:
  size_t planes_, kept_, pitch_;
  std::vector<float> data_;
};

// Where a row of the flow leads in the second image: the upper left one of the four pixels around,
// and how far right and down of it. Beyond the border it is on it.
struct Places {
  int32_t* pixel;
  float *right, *down;
};

FLOW_CLONES
void place_row(const VariationalRound& of, size_t y, const Places& places) {
  const int32_t width = static_cast<int32_t>(of.width), height = static_cast<int32_t>(of.height);
  const float *flow_x = of.flow + y * of.width, *flow_y = flow_x + of.height * of.width;
  const float last_x = static_cast<float>(width - 1), last_y = static_cast<float>(height - 1);
  const int32_t most_left = std::max(width - 2, 0), most_top = std::max(height - 2, 0);
  const float row = static_cast<float>(y);
  int32_t* __restrict pixel = places.pixel;
  float* __restrict right = places.right;
  float* __restrict down = places.down;
  for (int32_t x = 0; x < width; ++x) {
    // 0 for NaN
    const float to_x = std::min(std::max(0.0f, static_cast<float>(x) + flow_x[x]), last_x);
    const float to_y = std::min(std::max(0.0f, row + flow_y[x]), last_y);
    const int32_t left = std::min(static_cast<int32_t>(to_x), most_left);
    const int32_t top = std::min(static_cast<int32_t>(to_y), most_top);
    pixel[x] = top * width + left;
    right[x] = to_x - static_cast<float>(left);
    down[x] = to_y - static_cast<float>(top);
  }
}

// Of the second image, the pixels around each place: two above, then two below.
void gather_row(const VariationalRound& of, const int32_t* pixels, float* __restrict around) {
  if (of.width == 1) {
    const size_t below = of.height > 1 ? 1 : 0;
    const float* pixel = of.second + pixels[0];
    around[0] = around[1] = pixel[0], around[2] = around[3] = pixel[below];
    return;
  }
  const size_t below = of.height > 1 ? of.width : 0;
  for (size_t x = 0; x < of.width; ++x) {
    const float* pixel = of.second + pixels[x];
    std::memcpy(around + 4 * x, pixel, 2 * sizeof(float));
    std::memcpy(around + 4 * x + 2, pixel + below, 2 * sizeof(float));
  }
}

// Row y of the second image warped by the flow: its mean with the first image, and the difference.
FLOW_CLONES
void warp_row(const VariationalRound& of, size_t y, const float* around, const float* right,
              const float* down, float* __restrict mean, float* __restrict difference) {
  const size_t width = of.width;
  const float* first = of.first + y * width;
  FLOW_INDEPENDENT
  for (size_t x = 0; x < width; ++x) {
    const float* pixel = around + 4 * x;
    const float upper = pixel[0] + right[x] * (pixel[1] - pixel[0]);
    const float lower = pixel[2] + right[x] * (pixel[3] - pixel[2]);
    const float moved = upper + down[x] * (lower - upper);
    mean[x] = (first[x] + moved) / 2;
    difference[x] = moved - first[x];
  }
  // Beyond the border its pixels are repeated.
  for (float* const row : {mean, difference}) row[-1] = row[0], row[width] = row[width - 1];
}

// Central differences along x and y of a row, whose neighbours are above and below it.
FLOW_CLONES
void derive_row(size_t width, const float* row, const float* above, const float* below,
                float* __restrict along_x, float* __restrict along_y) {
  FLOW_INDEPENDENT
  for (size_t x = 0; x < width; ++x) {
    along_x[x] = (row[x + 1] - row[static_cast<ptrdiff_t>(x) - 1]) / 2;
    along_y[x] = (below[x] - above[x]) / 2;
  }
  for (float* const out : {along_x, along_y}) out[-1] = out[0], out[width] = out[width - 1];
}

// How strongly row y of the flow is smoothed: the weaker, the more it changes there.
FLOW_CLONES
void smooth_row(const VariationalRound& of, size_t y, float* __restrict weights) {
  const size_t width = of.width, plane = of.height * width;
  const float* row = of.flow + y * width;
  const size_t above = y > 0 ? width : 0, below = y + 1 < of.height ? width : 0;
  const auto set = [&](size_t x, size_t left, size_t right) FLOW_ALWAYS_INLINE {
    const auto squared = [&](const float* flow) FLOW_ALWAYS_INLINE {
      const float along_x = (flow[right] - flow[left]) / 2;
      const float along_y = (flow[x + below] - *(flow + x - above)) / 2;
      return along_x * along_x + along_y * along_y;
    };
    weights[x] = kSmoothness / std::sqrt(squared(row) + squared(row + plane) + kLeast * kLeast);
  };
  set(0, 0, std::min<size_t>(1, width - 1));
  FLOW_INDEPENDENT
  for (size_t x = 1; x + 1 < width; ++x) set(x, x - 1, x + 1);
  if (width > 1) set(width - 1, width - 2, width - 1);
}

// Weights between pixels and their neighbours to the right, or below.
FLOW_CLONES
void neighbour_row(size_t count, const float* image, const float* next_image, const float* weights,
                   const float* next_weights, float* __restrict between) {
  for (size_t x = 0; x < count; ++x) {
    const float edge = (next_image[x] - image[x]) * (1 / kEdge);
    between[x] = (weights[x] + next_weights[x]) / 2 * (1 / (1 + edge * edge) + kLeastEdge);
  }
}

// A pixel's equations, to be solved for its flow: smoothness draws it towards its neighbours', and
// the images towards where their gradients are equal.
enum Equation : size_t { kScaleX, kScaleY, kMixed, kRightX, kRightY, kBeside, kBelow, kX, kY };
constexpr size_t kEquation = 9;

struct Gradients {  // of rows y - 1, y and y + 1 of a plane
  const float *above, *row, *below;
};

FLOW_CLONES
void equation_row(const VariationalRound& of, size_t y, const Gradients& along_x,
                  const Gradients& along_y, const float* change_x, const float* change_y,
                  const float* over, float* const out[kEquation]) {
  const size_t width = of.width;
  const float *flow_x = of.flow + y * width, *flow_y = flow_x + of.height * width;
  const float *beside = out[kBeside], *under = out[kBelow];
  float* __restrict scale_x = out[kScaleX];
  float* __restrict scale_y = out[kScaleY];
  float* __restrict mixed = out[kMixed];
  float* __restrict right_x = out[kRightX];
  float* __restrict right_y = out[kRightY];
  FLOW_INDEPENDENT
  for (size_t x = 0; x < width; ++x) {
    const ptrdiff_t left = static_cast<ptrdiff_t>(x) - 1;
    const float xx = (along_x.row[x + 1] - along_x.row[left]) / 2;
    const float xy = (along_y.row[x + 1] - along_y.row[left]) / 2;
    const float yy = (along_y.below[x] - along_y.above[x]) / 2;
    const float xt = change_x[x], yt = change_y[x];
    // Each constraint relative to its gradient: a distance in pixels.
    const float square_x = xx * xx + xy * xy + kNoise * kNoise;
    const float square_y = xy * xy + yy * yy + kNoise * kNoise;
    const float both = 1 / (square_x * square_y);  // one division in place of two
    const float share_x = square_y * both, share_y = square_x * both;
    const float differs = xt * xt * share_x + yt * yt * share_y;
    const float weight = 1 / std::sqrt(differs + kLeast * kLeast);
    const float weight_x = weight * share_x, weight_y = weight * share_y;
    const float a = weight_x * xx * xx + weight_y * xy * xy + kStay;
    const float b = weight_x * xx * xy + weight_y * xy * yy;
    const float c = weight_x * xy * xy + weight_y * yy * yy + kStay;
    const float neighbours = beside[left] + beside[x] + over[x] + under[x];
    const float total_x = a + neighbours, total_y = c + neighbours;
    const float scale = 1 / (total_x * total_y);
    mixed[x] = b;
    scale_x[x] = total_y * scale;
    scale_y[x] = total_x * scale;
    right_x[x] = a * flow_x[x] + b * flow_y[x] - (weight_x * xx * xt + weight_y * xy * yt);
    right_y[x] = b * flow_x[x] + c * flow_y[x] - (weight_x * xy * xt + weight_y * yy * yt);
  }
}

// The numbers of a row in turns.
FLOW_CLONES
void split_row(const float* row, size_t width, float* __restrict even, float* __restrict odd) {
  FLOW_INDEPENDENT
  for (size_t i = 0; i < width / 2; ++i) even[i] = row[2 * i], odd[i] = row[2 * i + 1];
  if (width % 2 == 1) even[width / 2] = row[width - 1];
}

FLOW_CLONES
void merge_row(const float* even, const float* odd, size_t width, float* __restrict row) {
  FLOW_INDEPENDENT
  for (size_t i = 0; i < width / 2; ++i) row[2 * i] = even[i], row[2 * i + 1] = odd[i];
  if (width % 2 == 1) row[width - 1] = even[width / 2];
}

// A step of successive over-relaxation of one colour of a row: x is 2 i + odd.
struct Step {
  const float* own[kEquation];
  float *x, *y;                                           // of `own`
  const float* weights_left;                              // of the left neighbours to the pixels
  const float* weights_above;                             // of the upper ones
  const float *left[2], *right[2], *above[2], *below[2];  // the neighbours' flow
};

FLOW_CLONES
void relax(const Step& of, size_t count) {
  const float *scale_x = of.own[kScaleX], *scale_y = of.own[kScaleY], *mixed = of.own[kMixed];
  const float *right_x = of.own[kRightX], *right_y = of.own[kRightY];
  const float *weights_right = of.own[kBeside], *weights_below = of.own[kBelow];
  const float *weights_left = of.weights_left, *weights_above = of.weights_above;
  const float *left_x = of.left[0], *left_y = of.left[1], *beside_x = of.right[0];
  const float *beside_y = of.right[1], *above_x = of.above[0], *above_y = of.above[1];
  const float *below_x = of.below[0], *below_y = of.below[1];
  float* __restrict to_x = of.x;
  float* __restrict to_y = of.y;
  FLOW_INDEPENDENT
  for (size_t i = 0; i < count; ++i) {
    const float sum_x = weights_left[i] * left_x[i] + weights_right[i] * beside_x[i] +
                        weights_above[i] * above_x[i] + weights_below[i] * below_x[i];
    const float sum_y = weights_left[i] * left_y[i] + weights_right[i] * beside_y[i] +
                        weights_above[i] * above_y[i] + weights_below[i] * below_y[i];
    const float x = to_x[i], y = to_y[i];
    const float new_x = x + kRelaxation * ((right_x[i] + sum_x - mixed[i] * y) * scale_x[i] - x);
    to_x[i] = new_x;
    to_y[i] = y + kRelaxation * ((right_y[i] + sum_y - mixed[i] * new_x) * scale_y[i] - y);
  }
}

// A band of rows, which goes through all parts of a round: each part is as many rows behind the one
// before as it needs, so that all fit into the cache.
class Band {
 public:
  explicit Band(const VariationalRound& of)
      : of_(of),
        pixels_(of.width),
        around_(4 * of.width),
        places_(2, of.width, 1),
        images_(2, of.width, 3),
        gradients_(4, of.width, 3),
        weights_(1, of.width, 2),
        whole_(kEquation, of.width, 2),
        split_(kColours * kEquation, of.width / 2 + 1, kHalfSweeps + 3) {}

  void rows(size_t begin, size_t end) {
    const size_t first = begin > kAround ? begin - kAround : 0;
    const size_t last = std::min(end + kAround, of_.height);
    for (size_t row = first; row < last + kBehind + kHalfSweeps; ++row) {
      const auto at = [&](size_t behind, auto part) {
        if (row >= first + behind && row < last + behind) part(row - behind);
      };
      at(0, [&](size_t y) { warp(y); });
      at(1, [&](size_t y) { derive(y); });
      at(1, [&](size_t y) { smooth_row(of_, y, weights_[y][0]); });
      at(2, [&](size_t y) { equations(y); });
      for (size_t half = 0; half < kHalfSweeps; ++half) {
        at(kBehind + half, [&](size_t y) { relax_row(y, half % kColours); });
      }
      at(kBehind + kHalfSweeps - 1, [&](size_t y) {
        if (y >= begin && y < end) write(y);
      });
    }
  }

 private:
  static constexpr size_t kBehind = 3;  // the first half sweep behind the warp

  size_t above(size_t y) const { return y > 0 ? y - 1 : 0; }
  size_t below(size_t y) const { return std::min(y + 1, of_.height - 1); }

  void warp(size_t y) {
    const Row places = places_[y], images = images_[y];
    place_row(of_, y, {pixels_.data(), places[0], places[1]});
    gather_row(of_, pixels_.data(), around_.data());
    warp_row(of_, y, around_.data(), places[0], places[1], images[0], images[1]);
  }

  void derive(size_t y) {
    const Row row = images_[y], over = images_[above(y)], under = images_[below(y)];
    const Row along = gradients_[y];
    for (size_t image = 0; image < 2; ++image) {
      derive_row(of_.width, row[image], over[image], under[image], along[2 * image],
                 along[2 * image + 1]);
    }
  }

  void equations(size_t y) {
    const size_t width = of_.width;
    const float* image = of_.first + y * width;
    const Row whole = whole_[y];
    float* out[kEquation];
    for (size_t plane = 0; plane < kEquation; ++plane) out[plane] = whole[plane];
    const float* weights = weights_[y][0];
    neighbour_row(width - 1, image, image + 1, weights, weights + 1, out[kBeside]);
    out[kBeside][-1] = out[kBeside][width - 1] = 0;
    if (y + 1 < of_.height) {
      neighbour_row(width, image, image + width, weights, weights_[y + 1][0], out[kBelow]);
    } else {
      std::fill_n(out[kBelow], width, 0.0f);
    }
    const float* over = whole_[y + 1][kBelow];  // of row y - 1: two are kept; zeros before row 0
    const Row along = gradients_[y], along_above = gradients_[above(y)];
    const Row along_below = gradients_[below(y)];
    equation_row(of_, y, {along_above[0], along[0], along_below[0]},
                 {along_above[1], along[1], along_below[1]}, along[2], along[3], over, out);
    const float* flow = of_.flow + y * width;
    const Row split = split_[y];
    for (size_t plane = 0; plane < kEquation; ++plane) {
      const float* row = plane == kX ? flow : plane == kY ? flow + of_.height * width : out[plane];
      split_row(row, width, split[of_colour(y % 2, plane)], split[of_colour(1 - y % 2, plane)]);
    }
  }

  void relax_row(size_t y, size_t colour) {
    const size_t odd = (y + colour) % 2, other = 1 - colour;
    // Above the first row is one that is not written yet: its weights are zero.
    const Row row = split_[y], over = split_[y > 0 ? y - 1 : kHalfSweeps + 2];
    const Row under = split_[below(y)];
    Step step;
    for (size_t plane = 0; plane < kEquation; ++plane) {
      step.own[plane] = row[of_colour(colour, plane)];
    }
    step.x = row[of_colour(colour, kX)], step.y = row[of_colour(colour, kY)];
    step.weights_left = row[of_colour(other, kBeside)] + odd - 1;
    step.weights_above = over[of_colour(other, kBelow)];
    for (size_t axis = 0; axis < 2; ++axis) {
      const size_t plane = of_colour(other, kX + axis);
      step.left[axis] = row[plane] + odd - 1;
      step.right[axis] = row[plane] + odd;
      step.above[axis] = over[plane];
      step.below[axis] = under[plane];
    }
    relax(step, (of_.width + 1 - odd) / 2);
  }

  void write(size_t y) {
    const Row split = split_[y];
    for (size_t axis = 0; axis < 2; ++axis) {
      merge_row(split[of_colour(y % 2, kX + axis)], split[of_colour(1 - y % 2, kX + axis)],
                of_.width, of_.refined + (axis * of_.height + y) * of_.width);
    }
  }

  static size_t of_colour(size_t colour, size_t plane) { return colour * kEquation + plane; }

  const VariationalRound& of_;
  std::vector<int32_t> pixels_;
  std::vector<float> around_;
  Rows places_, images_, gradients_, weights_, whole_, split_;
};

}  // namespace

void VariationalRound::rows(size_t begin, size_t end) const { Band(*this).rows(begin, end); }

}  // namespace flow
