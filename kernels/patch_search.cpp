#include "kernels/patch_search.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/lanes.h"

namespace flow {
namespace {

// As in engine/refinement/patches.py.
constexpr size_t kPatch = 8, kStride = 4, kSteps = 3;
constexpr float kPixels = kPatch * kPatch;
constexpr float kLongestStep = 2.0f, kShortestStep = 0.2f, kApart = 1.0f, kMoved = 0.25f;
constexpr float kNoise = 1.0f, kBetter = 0.7f, kAlike = 0.5f, kRoundness = 0.1f;
constexpr float kAgree = 1.5f;
constexpr int kSupport = 3;

static_assert(kPatch == kLanes, "a row of a patch is computed at once");

struct Images {
  PaddedRows shape;
  const float *first, *second;

  const float* patch(size_t row, size_t column) const {
    return first + kStride * row * shape.pitch() + kStride * column;
  }
};

FLOW_INLINE float total(const Lanes& of) {
  return ((of[0] + of[4]) + (of[1] + of[5])) + ((of[2] + of[6]) + (of[3] + of[7]));
}

// The differences of the pixels on both sides of a row's, along x and along y: twice its
// derivatives.
struct Derivatives {
  Lanes x, y;

  FLOW_INLINE Derivatives(const float* row, size_t pitch)
      : x(lanes(row + 1) - lanes(row - 1)), y(lanes(row + pitch) - lanes(row - pitch)) {}
};

// Sets what does not depend on the motion.
FLOW_CLONES
void describe(const Images& images, size_t row, size_t column, Patch& patch) {
  const size_t pitch = images.shape.pitch();
  const float* pixels = images.patch(row, column);
  Lanes sum = {}, squares = {}, sum_x = {}, sum_y = {}, xx = {}, xy = {}, yy = {};
  for (size_t y = 0; y < kPatch; ++y, pixels += pitch) {
    const Lanes own = lanes(pixels);
    const Derivatives along(pixels, pitch);
    sum += own, squares += own * own;
    sum_x += along.x, sum_y += along.y;
    xx += along.x * along.x, xy += along.x * along.y, yy += along.y * along.y;
  }
  patch.sum_x = total(sum_x), patch.sum_y = total(sum_y);
  patch.xx = total(xx) - patch.sum_x * patch.sum_x / kPixels;
  patch.xy = total(xy) - patch.sum_x * patch.sum_y / kPixels;
  patch.yy = total(yy) - patch.sum_y * patch.sum_y / kPixels;
  patch.variance = total(squares) - total(sum) * total(sum) / kPixels;
}

FLOW_INLINE float within(float value, float least, float most) {
  return std::min(std::max(least, value), most);
}

// The pixels that a patch is compared with, and how far right and down of them it leads.
struct Place {
  const float *own, *other;
  size_t pitch;
  float right, down;

  // Where it moves by (x, y), which are numbers.
  FLOW_INLINE Place(const Images& images, size_t row, size_t column, float x, float y)
      : own(images.patch(row, column)), pitch(images.shape.pitch()) {
    // A patch that leads out of the image stays beside it, on the margin.
    constexpr float kOut = kPatch;
    constexpr ptrdiff_t kOutside = kPatch;
    const float to_x = within(static_cast<float>(kStride * column) + x, -kOut,
                              static_cast<float>(images.shape.width));
    const float to_y = within(static_cast<float>(kStride * row) + y, -kOut,
                              static_cast<float>(images.shape.height));
    const ptrdiff_t left = static_cast<ptrdiff_t>(to_x + kOut) - kOutside;
    const ptrdiff_t top = static_cast<ptrdiff_t>(to_y + kOut) - kOutside;
    right = to_x - static_cast<float>(left), down = to_y - static_cast<float>(top);
    other = images.second + top * static_cast<ptrdiff_t>(pitch) + left;
  }
};

// How the images differ where a patch moves by (x, y).
FLOW_INLINE Patch::Match match(const Images& images, size_t row, size_t column, const Patch& patch,
                               float x, float y) {
  Place at(images, row, column, x, y);
  Lanes sum = {}, squares = {}, along_x = {}, along_y = {};
  Lanes upper = lanes(at.other) + at.right * (lanes(at.other + 1) - lanes(at.other));
  for (size_t i = 0; i < kPatch; ++i, at.own += at.pitch) {
    at.other += at.pitch;
    const Lanes lower = lanes(at.other) + at.right * (lanes(at.other + 1) - lanes(at.other));
    const Lanes difference = upper + at.down * (lower - upper) - lanes(at.own);
    const Derivatives along(at.own, at.pitch);
    sum += difference, squares += difference * difference;
    along_x += difference * along.x, along_y += difference * along.y;
    upper = lower;
  }
  const float whole = total(sum), mean = whole / kPixels;
  return {x, y, std::max(0.0f, total(squares) - whole * mean), total(along_x) - patch.sum_x * mean,
          total(along_y) - patch.sum_y * mean};
}

// Takes another motion where it fits better.
FLOW_INLINE bool improve(const Images& images, size_t row, size_t column, Patch& patch, float x,
                         float y) {
  const Patch::Match other = match(images, row, column, patch, x, y);
  const bool better = other.squared < patch.best.squared;
  if (better) patch.best = other;
  return better;
}

// Improves a patch's match by steps of inverse compositional descent, as far as they do.
FLOW_INLINE void descend(const Images& images, size_t row, size_t column, Patch& patch) {
  const float damping = 4 + 0.001f * (patch.xx + patch.yy);
  const float xx = patch.xx + damping, yy = patch.yy + damping;
  const float factor = 2 / (xx * yy - patch.xy * patch.xy);
  for (size_t step = 0; step < kSteps && !patch.settled; ++step) {
    const Patch::Match& from = patch.best;
    const float x = (yy * from.along_x - patch.xy * from.along_y) * factor;
    const float y = (xx * from.along_y - patch.xy * from.along_x) * factor;
    patch.settled = std::fabs(x) + std::fabs(y) < kShortestStep;
    if (patch.settled) return;
    patch.settled =
        !improve(images, row, column, patch, from.x - within(x, -kLongestStep, kLongestStep),
                 from.y - within(y, -kLongestStep, kLongestStep));
  }
}

// Patches of a row, one after the other, and where the patch is whose motion each tries.
struct Line {
  size_t row, column, length;
  ptrdiff_t next, before;  // as a difference of places in `patches`; 0: there is none before
};

FLOW_CLONES
void search(const Images& images, Patch* patches, size_t columns, const Line& line) {
  size_t column = line.column;
  for (size_t i = 0; i < line.length; ++i, column += line.next) {
    Patch& patch = patches[line.row * columns + column];
    if (!patch.searched) continue;
    if (line.before != 0) {
      const Patch::Match& before = (&patch)[line.before].best;
      // Descent leads to what is near.
      if (std::fabs(before.x - patch.best.x) + std::fabs(before.y - patch.best.y) > kApart) {
        if (improve(images, line.row, column, patch, before.x, before.y)) patch.settled = false;
      }
    }
    descend(images, line.row, column, patch);
  }
}

FLOW_CLONES
void set_match(const Images& images, size_t row, size_t column, float x, float y, Patch& patch) {
  patch.best = match(images, row, column, patch, x, y);
}

FLOW_CLONES
void try_match(const Images& images, size_t row, size_t column, float x, float y, Patch& patch) {
  improve(images, row, column, patch, x, y);
}

float weight(float squared) { return 1 / std::max(1.0f, std::sqrt(squared / kPixels)); }

bool is_round(const Patch& of) {
  const float trace = of.xx + of.yy;
  return 4 * (of.xx * of.yy - of.xy * of.xy) >= kRoundness * trace * trace;
}

// Whether a match is better than the given flow, and not only more exact.
bool is_improved(const Patch& of) {
  return of.best.squared < kBetter * of.given_squared &&
         std::fabs(of.best.x - of.given_x) + std::fabs(of.best.y - of.given_y) > kMoved;
}

// What a match must stay below to be accepted.
float most_squared(const Patch& of) { return kBetter * of.given_squared - kNoise * kPixels; }

// Whether the match is much better than the given flow, and explains the patch.
bool fits(const Patch& of) {
  return of.searched && of.best.squared < most_squared(of) &&
         of.best.squared < kAlike * of.variance + kNoise * kPixels;
}

size_t patches_along(size_t length) {
  return std::max<size_t>((length + kStride - 1) / kStride, 2) - 1;
}

}  // namespace

PatchSearch::PatchSearch(const PaddedRows& shape, const float* first, const float* second,
                         Patch* patches)
    : shape_(shape),
      first_(first),
      second_(second),
      patches_(patches),
      rows_(patches_along(shape.height)),
      columns_(patches_along(shape.width)) {}

size_t PatchSearch::count(const PaddedRows& shape) {
  return patches_along(shape.height) * patches_along(shape.width);
}

void PatchSearch::begin(const Given& given, const PatchSearch* coarser, size_t begin, size_t end) {
  const Images images = {shape_, first_, second_};
  const float scale = 1 / static_cast<float>(size_t{1} << given.halvings);
  std::vector<Around> around_row;  // of the coarser resolution; two rows of this one share it
  for (size_t row = begin; row < end; ++row) {
    if (coarser != nullptr && (around_row.empty() || row % 2 == 1)) {
      coarser->around((row + 1) / 2, around_row);
    }
    const size_t y = std::min((kStride * (row + 1)) << given.halvings, given.height - 1);
    for (size_t column = 0; column < columns_; ++column) {
      const size_t x = std::min((kStride * (column + 1)) << given.halvings, given.width - 1);
      const float* flow = given.flow + 2 * (y * given.width + x);
      const bool known = std::isfinite(flow[0]) && std::isfinite(flow[1]);
      const float own_x = known ? scale * flow[0] : 0, own_y = known ? scale * flow[1] : 0;
      Patch& patch = patches_[row * columns_ + column];
      patch.searched = known, patch.settled = patch.accepted = false;
      Around around = {};
      if (coarser != nullptr) {
        around = around_row[std::min((column + 1) / 2, around_row.size() - 1)];
        patch.searched = known && around.improved;
      }
      if (patch.searched || coarser == nullptr) {
        describe(images, row, column, patch);
        set_match(images, row, column, own_x, own_y, patch);
      } else {
        patch.best = {own_x, own_y, around.given_squared, 0, 0};
      }
      patch.given_x = own_x, patch.given_y = own_y, patch.given_squared = patch.best.squared;
      // At the whole resolution, only what can be accepted.
      if (given.halvings == 0) {
        patch.searched = patch.searched && is_round(patch) && most_squared(patch) > 0;
      }
      if (patch.searched && coarser != nullptr) {
        try_match(images, row, column, 2 * around.x, 2 * around.y, patch);
      }
    }
  }
}

void PatchSearch::along_rows(size_t begin, size_t end) {
  const Images images = {shape_, first_, second_};
  const size_t last = columns_ - 1;
  for (size_t row = begin; row < end; ++row) {
    search(images, patches_, columns_, {row, 0, 1, 1, 0});
    search(images, patches_, columns_, {row, 1, last, 1, -1});
    search(images, patches_, columns_, {row, last, 1, -1, 0});
    search(images, patches_, columns_, {row, last - 1, last, -1, 1});
  }
}

// Row by row, as the images lie in memory: columns do not depend on each other.
void PatchSearch::along_columns(size_t begin, size_t end) {
  const Images images = {shape_, first_, second_};
  const ptrdiff_t below = static_cast<ptrdiff_t>(columns_);
  for (size_t row = 0; row < rows_; ++row) {
    search(images, patches_, columns_, {row, begin, end - begin, 1, row > 0 ? -below : 0});
  }
  for (size_t row = rows_; row-- > 0;) {
    search(images, patches_, columns_, {row, begin, end - begin, 1, row + 1 < rows_ ? below : 0});
  }
}

void PatchSearch::accept(size_t begin, size_t end) {
  for (size_t row = begin; row < end; ++row) {
    for (size_t column = 0; column < columns_; ++column) {
      Patch& patch = patches_[row * columns_ + column];
      patch.accepted = fits(patch) && support(row, column) >= kSupport;
    }
  }
}

// How many patches around move like this one and fit.
int PatchSearch::support(size_t row, size_t column) const {
  const Patch& own = patches_[row * columns_ + column];
  int count = -1;  // without itself
  for (size_t y = row - (row > 0); y < std::min(row + 2, rows_); ++y) {
    for (size_t x = column - (column > 0); x < std::min(column + 2, columns_); ++x) {
      const Patch& other = patches_[y * columns_ + x];
      const float by_x = other.best.x - own.best.x, by_y = other.best.y - own.best.y;
      count += fits(other) && by_x * by_x + by_y * by_y < kAgree * kAgree;
    }
  }
  return count;
}

void PatchSearch::around(size_t row, std::vector<Around>& around) const {
  row = std::min(row, rows_);
  around.assign(columns_ + 1, {0, 0, false, std::numeric_limits<float>::max()});
  for (size_t column = 0; column <= columns_; ++column) {
    Around& cell = around[column];
    float weights = 0;
    for (size_t i = row - (row > 0); i < std::min(row + 1, rows_); ++i) {
      for (size_t j = column - (column > 0); j < std::min(column + 1, columns_); ++j) {
        const Patch& of = patches_[i * columns_ + j];
        const float own = weight(of.best.squared);
        cell.x += own * of.best.x, cell.y += own * of.best.y, weights += own;
        cell.improved = cell.improved || is_improved(of);
        cell.given_squared = std::min(cell.given_squared, of.given_squared);
      }
    }
    cell.x /= weights, cell.y /= weights;
  }
}

void PatchSearch::changes(size_t begin, size_t end, float* changes) const {
  for (size_t row = begin; row < end; ++row) {
    for (size_t column = 0; column <= columns_; ++column) {
      float x = 0, y = 0, weights = 0;
      for (size_t i = row - (row > 0); i < std::min(row + 1, rows_); ++i) {
        for (size_t j = column - (column > 0); j < std::min(column + 1, columns_); ++j) {
          const Patch& of = patches_[i * columns_ + j];
          if (of.accepted) {
            const float own = weight(of.best.squared);
            x += own * (of.best.x - of.given_x), y += own * (of.best.y - of.given_y);
            weights += own;
          } else {
            weights += weight(of.given_squared);
          }
        }
      }
      float* change = changes + 2 * (row * (columns_ + 1) + column);
      change[0] = x / weights, change[1] = y / weights;
    }
  }
}

}  // namespace flow
