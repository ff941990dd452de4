#include "kernels/refinement.h"

#include <algorithm>
#include <limits>
#include <new>
#include <vector>

#include "kernels/lanes.h"
#include "kernels/memory.h"
#include "kernels/patch_search.h"
#include "kernels/phases.h"
#include "kernels/rows.h"
#include "kernels/variational.h"

namespace flow {
namespace {

// As in engine/refinement/plain.py.
constexpr size_t kHalfRounds = 3, kRounds = 1;
// Resolutions of the search for patches: the whole one, half of it and a quarter.
constexpr size_t kResolutions = 3;
// With fewer rows each, threads spend more time waiting for each other than they save.
constexpr size_t kLeastRows = 24;

FLOW_CLONES
void grey_row(const uint8_t* pixels, size_t width, float* __restrict grey) {
  for (size_t x = 0; x < width; ++x) {
    grey[x] = 0.299f * pixels[3 * x] + 0.587f * pixels[3 * x + 1] + 0.114f * pixels[3 * x + 2];
  }
}

// Means of 2x2 numbers; where a side is odd, its last number counts twice.
FLOW_CLONES
void halve_row(const float* above, const float* below, size_t width, float scale,
               float* __restrict halved) {
  for (size_t x = 0; x < width / 2; ++x) {
    halved[x] = ((above[2 * x] + above[2 * x + 1]) + (below[2 * x] + below[2 * x + 1])) * scale;
  }
  if (width % 2 == 1) {
    halved[width / 2] = 2 * (above[width - 1] + below[width - 1]) * scale;
  }
}

// The same of rows as `SplitRows` says.
FLOW_CLONES
void halve_split_row(const float* above, const float* below, const SplitRows& shape, float scale,
                     float* __restrict halved) {
  const size_t pairs = shape.width / 2;
  const float *above_odd = above + shape.half(), *below_odd = below + shape.half();
  for (size_t i = 0; i < pairs; ++i) {
    halved[i] = ((above[i] + above_odd[i]) + (below[i] + below_odd[i])) * scale;
  }
  if (shape.width % 2 == 1) halved[pairs] = 2 * (above[pairs] + below[pairs]) * scale;
}

// The numbers of a row in turns.
FLOW_CLONES
void split_row(const float* row, size_t width, float* __restrict even, float* __restrict odd) {
  FLOW_INDEPENDENT
  for (size_t i = 0; i < width / 2; ++i) even[i] = row[2 * i], odd[i] = row[2 * i + 1];
  if (width % 2 == 1) even[width / 2] = row[width - 1];
}

// Of a row of a flow, x and y in turns: each as `SplitRows` says.
FLOW_CLONES
void split_flow_row(const float* flow, const SplitRows& shape, float* __restrict x,
                    float* __restrict y) {
  float* __restrict odd_x = x + shape.half();
  float* __restrict odd_y = y + shape.half();
  const size_t pairs = shape.width / 2;
  FLOW_INDEPENDENT
  for (size_t i = 0; i < pairs; ++i) {
    x[i] = flow[4 * i], y[i] = flow[4 * i + 1];
    odd_x[i] = flow[4 * i + 2], odd_y[i] = flow[4 * i + 3];
  }
  if (shape.width % 2 == 1) x[pairs] = flow[4 * pairs], y[pairs] = flow[4 * pairs + 1];
}

FLOW_CLONES
void merge_flow_row(const float* x, const float* y, const SplitRows& shape,
                    float* __restrict flow) {
  const float *odd_x = x + shape.half(), *odd_y = y + shape.half();
  const size_t pairs = shape.width / 2;
  FLOW_INDEPENDENT
  for (size_t i = 0; i < pairs; ++i) {
    flow[4 * i] = x[i], flow[4 * i + 1] = y[i];
    flow[4 * i + 2] = odd_x[i], flow[4 * i + 3] = odd_y[i];
  }
  if (shape.width % 2 == 1) flow[4 * pairs] = x[pairs], flow[4 * pairs + 1] = y[pairs];
}

FLOW_CLONES
void merge_row(const float* even, const float* odd, size_t width, float* __restrict row) {
  FLOW_INDEPENDENT
  for (size_t i = 0; i < width / 2; ++i) row[2 * i] = even[i], row[2 * i + 1] = odd[i];
  if (width % 2 == 1) row[width - 1] = even[width / 2];
}

// A mixture of two rows of a change at half the resolution, of which `near` is nearer.
FLOW_CLONES
void change_row(const float* after, const float* before, const float* after_far,
                const float* before_far, size_t width, float* __restrict change) {
  for (size_t x = 0; x < width; ++x) {
    // A pixel has half as many of the halved image.
    change[x] = 1.5f * (after[x] - before[x]) + 0.5f * (after_far[x] - before_far[x]);
  }
}

// Every second one of `numbers` is of 4x4 pixels. Sets those of a row of pixels, at even and at odd
// x: a pixel is 1/8, 3/8, 5/8 or 7/8 of the way from one to the next.
FLOW_CLONES
void spread_row(const float* numbers, size_t count, float* __restrict even, float* __restrict odd) {
  even[0] = odd[0] = numbers[0];
  FLOW_INDEPENDENT
  for (size_t i = 0; i + 1 < count; ++i) {
    const float left = numbers[2 * i], by = numbers[2 * i + 2] - left;
    even[2 * i + 1] = left + 0.125f * by, odd[2 * i + 1] = left + 0.375f * by;
    even[2 * i + 2] = left + 0.625f * by, odd[2 * i + 2] = left + 0.875f * by;
  }
  even[2 * count - 1] = odd[2 * count - 1] = numbers[2 * count - 2];
}

FLOW_CLONES
void add_row(const float* numbers, size_t count, float* __restrict to) {
  for (size_t i = 0; i < count; ++i) to[i] += numbers[i];
}

// Adds a row of half the width to the numbers of a row at even and odd x.
FLOW_CLONES
void add_doubled(const float* half, size_t width, float* __restrict even, float* __restrict odd) {
  const size_t last = (width - 1) / 2;
  even[0] += half[0];
  FLOW_INDEPENDENT
  for (size_t i = 0; i < last; ++i) {
    odd[i] += 0.75f * half[i] + 0.25f * half[i + 1];
    even[i + 1] += 0.25f * half[i] + 0.75f * half[i + 1];
  }
  if (width % 2 == 0) odd[last] += half[last];
}

// The grey images of one resolution, 0 to 255.
struct GreyPair {
  PaddedRows shape;
  float *first, *second;

  GreyPair(const PaddedRows& of, Memory& memory)
      : shape(of),
        first(memory.take<float>(shape.numbers()) + shape.first()),
        second(memory.take<float>(shape.numbers()) + shape.first()) {}
};

// A pair and its flow at one resolution, for variational rounds.
struct Level {
  SplitRows shape;
  const float* second;  // as of `VariationalRound`, like the rest
  float *first, *flow, *refined;

  Level(const GreyPair& grey, Memory& memory)
      : shape{grey.shape.height, grey.shape.width},
        second(grey.second),
        first(memory.take<float>(shape.numbers())),
        flow(memory.take<float>(2 * shape.numbers())),
        refined(memory.take<float>(2 * shape.numbers())) {}

  // Its flow before a round, and after all of them.
  float* flow_at(size_t round) const { return round % 2 == 0 ? flow : refined; }

  void add_rounds(size_t rounds, std::vector<Phase>& phases) const {
    for (size_t round = 0; round < rounds; ++round) {
      const VariationalRound step = {shape, first, second, flow_at(round), flow_at(round + 1)};
      phases.push_back(
          {shape.height, [step](size_t begin, size_t end) { step.rows(begin, end); }, 1});
    }
  }

  // Row y of its flow along x or along y.
  float* flow_row(size_t y, size_t axis) const {
    return flow + axis * shape.numbers() + y * shape.pitch();
  }

  // Splits a row of whole numbers.
  void set_row(const float* row, size_t y, float* plane) const {
    float* const even = plane + y * shape.pitch();
    split_row(row, shape.width, even, even + shape.half());
  }
};

// Sets rows [begin, end) of the coarsest resolution, and those of the others that they are made
// from.
class Preparation {
 public:
  Preparation(const Refinement& of, const std::vector<GreyPair>& greys, const Level& whole,
              const Level& half)
      : of_(of), greys_(greys), whole_(whole), half_(half) {}

  void rows(size_t begin, size_t end) const {
    for (size_t y = begin; y < end; ++y) set_row(kResolutions - 1, y);
  }

 private:
  // Of both images, after the rows of twice the resolution.
  void set_row(size_t halvings, size_t y) const {
    const PaddedRows& shape = greys_[halvings].shape;
    if (halvings > 0) {
      const size_t finer_height = greys_[halvings - 1].shape.height;
      for (size_t row = 2 * y; row < std::min(2 * y + 2, finer_height); ++row) {
        set_row(halvings - 1, row);
      }
    }
    for (float* GreyPair::* image : {&GreyPair::first, &GreyPair::second}) {
      float* const plane = greys_[halvings].*image;
      float* const row = plane + y * shape.pitch();
      if (halvings == 0) {
        const uint8_t* pixels = image == &GreyPair::first ? of_.first : of_.second;
        grey_row(pixels + 3 * y * of_.width, of_.width, row);
      } else {
        const GreyPair& finer = greys_[halvings - 1];
        const float* above = finer.*image + 2 * y * finer.shape.pitch();
        const float* below = 2 * y + 1 < finer.shape.height ? above + finer.shape.pitch() : above;
        halve_row(above, below, finer.shape.width, 0.25f, row);
      }
      shape.repeat_border(plane, y);
    }
    const float* const first = greys_[halvings].first + y * shape.pitch();
    if (halvings == 0) whole_.set_row(first, y, whole_.first);
    if (halvings == 1) half_.set_row(first, y, half_.first);
  }

  const Refinement& of_;
  const std::vector<GreyPair>& greys_;
  const Level &whole_, &half_;
};

// The flow to begin with: the given one and how the search changes it. It also halves it.
class Start {
 public:
  // Changes: (rows, columns, 2), one for each 4x4 pixels.
  Start(const Refinement& of, const float* changes, size_t rows, size_t columns, const Level& whole,
        const Level& half, float* before)
      : of_(of),
        changes_(changes),
        rows_(rows),
        columns_(columns),
        whole_(whole),
        half_(half),
        before_(before) {}

  // Rows [begin, end) of half the resolution, and those of the whole one that they are made from.
  void rows(size_t begin, size_t end) const {
    // Changes of a row of 4x4 pixels, and of the pixels of one of their rows.
    std::vector<float> change(2 * columns_), changes(4 * columns_), halved(half_.shape.width);
    for (size_t y = begin; y < end; ++y) {
      const size_t last = std::min(2 * y + 1, of_.height - 1);
      for (size_t row = 2 * y; row <= last; ++row) set_row(row, change.data(), changes.data());
      for (size_t axis = 0; axis < 2; ++axis) {
        const float *above = whole_.flow_row(2 * y, axis), *below = whole_.flow_row(last, axis);
        halve_split_row(above, below, whole_.shape, 0.125f, halved.data());
        half_.set_row(halved.data(), y, half_.flow + axis * half_.shape.numbers());
        const float* const row = half_.flow_row(y, axis);
        std::copy_n(row, half_.shape.pitch(), before_ + (row - half_.flow));
      }
    }
  }

 private:
  // Of the whole resolution.
  void set_row(size_t y, float* change, float* changes) const {
    const SplitRows& shape = whole_.shape;
    split_flow_row(of_.flow + 2 * y * of_.width, shape, whole_.flow_row(y, 0),
                   whole_.flow_row(y, 1));
    const size_t above = y < 2 ? 0 : std::min((y - 2) / 4, rows_ - 1);
    const size_t below = y < 2 ? 0 : std::min(above + 1, rows_ - 1);
    const float share = 0.125f + 0.25f * static_cast<float>((y + 2) % 4);
    const float *upper = changes_ + 2 * above * columns_, *lower = changes_ + 2 * below * columns_;
    for (size_t i = 0; i < 2 * columns_; ++i) change[i] = upper[i] + share * (lower[i] - upper[i]);
    for (size_t axis = 0; axis < 2; ++axis) {
      float* const even = whole_.flow_row(y, axis);
      float* const odd_changes = changes + 2 * columns_;
      spread_row(change + axis, columns_, changes, odd_changes);
      add_row(changes, shape.half(), even);
      add_row(odd_changes, shape.width / 2, even + shape.half());
    }
  }

  const Refinement& of_;
  const float* const changes_;
  const size_t rows_, columns_;
  const Level &whole_, &half_;
  float* const before_;
};

// Adds what the rounds at half the resolution have changed.
void add_change(const Level& whole, const Level& half, const float* before, size_t begin,
                size_t end) {
  const float* after = half.flow_at(kHalfRounds);
  const SplitRows& shape = half.shape;
  std::vector<float> change(shape.pitch()), merged(shape.width);
  for (size_t y = begin; y < end; ++y) {
    const size_t near = y / 2;
    const size_t far = y % 2 == 1 ? std::min(near + 1, shape.height - 1) : near > 0 ? near - 1 : 0;
    for (size_t axis = 0; axis < 2; ++axis) {
      const size_t near_row = axis * shape.numbers() + near * shape.pitch();
      const size_t far_row = axis * shape.numbers() + far * shape.pitch();
      change_row(after + near_row, before + near_row, after + far_row, before + far_row,
                 shape.pitch(), change.data());
      merge_row(change.data(), change.data() + shape.half(), shape.width, merged.data());
      float* const even = whole.flow_row(y, axis);
      add_doubled(merged.data(), whole.shape.width, even, even + whole.shape.half());
    }
  }
}

// The refined flow, x and y in turns.
void write(const Refinement& of, const Level& whole, size_t begin, size_t end) {
  const float* const refined = whole.flow_at(kRounds);
  for (size_t y = begin; y < end; ++y) {
    const float* const x = refined + y * whole.shape.pitch();
    merge_flow_row(x, x + whole.shape.numbers(), whole.shape, of.refined + 2 * y * of.width);
  }
}

// Adds the phases of the search, from the coarsest resolution on.
void add_search(std::vector<PatchSearch>& searches, const Refinement& of,
                std::vector<Phase>& phases) {
  const PatchSearch* coarser = nullptr;
  for (size_t halvings = searches.size(); halvings-- > 0;) {
    PatchSearch& search = searches[halvings];
    const PatchSearch::Given given = {of.flow, of.height, of.width, halvings};
    phases.push_back({search.rows(), [&search, given, coarser](size_t begin, size_t end) {
                        search.begin(given, coarser, begin, end);
                        search.along_rows(begin, end);
                      }});
    phases.push_back({search.columns(),
                      [&search](size_t begin, size_t end) { search.along_columns(begin, end); }});
    coarser = &search;
  }
  PatchSearch& finest = searches.front();
  phases.push_back(
      {finest.rows(), [&finest](size_t begin, size_t end) { finest.accept(begin, end); }});
}

}  // namespace

void Refinement::run(size_t threads) const {
  // Places in the second image are numbers of 32 bits.
  constexpr size_t kMargins = 2 * PaddedRows::kMargin, kMost = std::numeric_limits<int32_t>::max();
  if (height > kMost || width > kMost || width + kMargins > kMost / (height + kMargins)) {
    throw std::bad_alloc();
  }
  Memory memory;
  std::vector<GreyPair> greys;
  std::vector<PatchSearch> searches;
  for (size_t i = 0; i < kResolutions; ++i) {
    const PaddedRows of = i > 0 ? greys.back().shape.halved() : PaddedRows{height, width};
    const GreyPair& grey = greys.emplace_back(of, memory);
    Patch* const patches = memory.take<Patch>(PatchSearch::count(of));
    searches.emplace_back(of, grey.first, grey.second, patches);
  }
  const Level whole(greys[0], memory), half(greys[1], memory);
  const size_t rows = searches[0].rows() + 1, columns = searches[0].columns() + 1;
  float* const changes = memory.take<float>(2 * rows * columns);
  float* const before = memory.take<float>(2 * half.shape.numbers());

  const Preparation preparation(*this, greys, whole, half);
  const Start start(*this, changes, rows, columns, whole, half, before);
  std::vector<Phase> phases = {
      {greys.back().shape.height, [&](size_t begin, size_t end) { preparation.rows(begin, end); }}};
  add_search(searches, *this, phases);
  phases.push_back(
      {rows, [&](size_t begin, size_t end) { searches[0].changes(begin, end, changes); }});
  phases.push_back({half.shape.height, [&](size_t begin, size_t end) { start.rows(begin, end); }});
  half.add_rounds(kHalfRounds, phases);
  phases.push_back(
      {height, [&](size_t begin, size_t end) { add_change(whole, half, before, begin, end); }});
  whole.add_rounds(kRounds, phases);
  phases.push_back({height, [&](size_t begin, size_t end) { write(*this, whole, begin, end); }});
  run_phases(phases, std::max<size_t>(1, std::min(threads, half.shape.height / kLeastRows)));
}

}  // namespace flow
