#include "kernels/refinement.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <functional>
#include <limits>
#include <memory>
#include <new>
#include <thread>
#include <vector>

#include "kernels/lanes.h"
#include "kernels/variational.h"
#include "kernels/workers.h"

namespace flow {
namespace {

// As in engine/refinement/plain.py.
constexpr size_t kHalfRounds = 4, kRounds = 2;
// With fewer rows each, threads spend more time waiting for each other than they save.
constexpr size_t kLeastRows = 24;
// Numbers that are kept for the next refinement: those of a full HD frame.
constexpr size_t kMostKept = size_t{17} << 20;

// What is done with rows [begin, end); the whole of a phase before any of the next one.
struct Phase {
  size_t height;
  std::function<void(size_t, size_t)> rows;
};

// Where threads wait for each other. Phases take less than a millisecond, and threads of the same
// work end them together: they ask again and again, and let others run in between.
class Barrier {
 public:
  explicit Barrier(size_t threads) : threads_(threads) {}

  void wait() {
    const size_t round = round_.load();
    if (arrived_.fetch_add(1) + 1 == threads_) {
      arrived_.store(0);
      round_.store(round + 1);
      return;
    }
    while (round_.load() == round) std::this_thread::yield();
  }

 private:
  const size_t threads_;
  std::atomic<size_t> arrived_ = 0, round_ = 0;
};

// Goes through the phases; each thread has a part of the rows.
void run_phases(const std::vector<Phase>& phases, size_t threads) {
  Barrier barrier(threads);
  std::vector<std::exception_ptr> failures(threads);
  std::atomic<bool> failed = false;
  run_in_threads(threads, [&](size_t index) {
    for (const Phase& phase : phases) {
      if (!failed) {
        try {
          phase.rows(phase.height * index / threads, phase.height * (index + 1) / threads);
        } catch (...) {
          failures[index] = std::current_exception();
          failed = true;
        }
      }
      barrier.wait();
    }
  });
  for (const std::exception_ptr& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
}

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

// A mixture of two rows of a change at half the resolution, of which `near` is nearer.
FLOW_CLONES
void change_row(const float* after, const float* before, const float* after_far,
                const float* before_far, size_t width, float* __restrict change) {
  for (size_t x = 0; x < width; ++x) {
    // A pixel has half as many of the halved image.
    change[x] = 1.5f * (after[x] - before[x]) + 0.5f * (after_far[x] - before_far[x]);
  }
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

// Memory for numbers, of the thread that asks. It is not set to zero. To get it from the system
// takes a quarter of the time of a refinement, so it is kept.
class Memory {
 public:
  explicit Memory(size_t numbers) {
    if (numbers <= size_) return;
    size_ = 0, numbers_.reset();
    numbers_.reset(new float[numbers]);
    size_ = numbers;
  }

  ~Memory() {
    if (size_ > kMostKept) size_ = 0, numbers_.reset();
  }

  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  float* data() const { return numbers_.get(); }

 private:
  static thread_local std::unique_ptr<float[]> numbers_;
  static thread_local size_t size_;
};

thread_local std::unique_ptr<float[]> Memory::numbers_;
thread_local size_t Memory::size_ = 0;

// A pair at one resolution.
struct Level {
  SplitRows shape;
  float *first, *second, *flow, *refined;  // as of `VariationalRound`

  Level(size_t height, size_t width, float* memory)
      : shape{height, width},
        first(memory),
        second(first + shape.numbers()),
        flow(second + shape.numbers()),
        refined(flow + 2 * shape.numbers()) {}

  static size_t numbers(size_t height, size_t width) {
    return 6 * SplitRows{height, width}.numbers();
  }

  // Its flow before a round, and after all of them.
  float* flow_at(size_t round) const { return round % 2 == 0 ? flow : refined; }

  void add_rounds(size_t rounds, std::vector<Phase>& phases) const {
    for (size_t round = 0; round < rounds; ++round) {
      const VariationalRound step = {shape, first, second, flow_at(round), flow_at(round + 1)};
      phases.push_back({shape.height, [step](size_t begin, size_t end) { step.rows(begin, end); }});
    }
  }
};

// The grey images and the flow of both levels.
class Preparation {
 public:
  Preparation(const Refinement& of, const Level& whole, const Level& half, float* before)
      : of_(of), whole_(whole), half_(half), before_(before) {}

  // Rows [begin, end) of half the resolution, and those of the whole one that they are made from.
  void rows(size_t begin, size_t end) const {
    const size_t width = of_.width, half_width = half_.shape.width;
    // Two rows of the first image, and of x and y of the flow.
    std::vector<float> pairs(6 * width), halved(half_width);
    for (size_t y = begin; y < end; ++y) {
      const size_t rows = std::min<size_t>(2, of_.height - 2 * y);
      float* const second = whole_.second + 2 * y * width;
      for (size_t row = 0; row < rows; ++row) {
        const size_t at = 2 * y + row;
        float* const first = pairs.data() + row * width;
        grey_row(of_.first + 3 * at * width, width, first);
        grey_row(of_.second + 3 * at * width, width, second + row * width);
        split(first, whole_, at, whole_.first);
        const float* flow = of_.flow + 2 * at * width;
        float* const x = first + 2 * width;
        split_row(flow, 2 * width, x, x + 2 * width);
        split(x, whole_, at, whole_.flow);
        split(x + 2 * width, whole_, at, whole_.flow + whole_.shape.numbers());
      }
      const auto halve = [&](const float* above, float scale, float* to) {
        halve_row(above, rows > 1 ? above + width : above, width, scale, to);
      };
      halve(second, 0.25f, half_.second + y * half_width);
      halve(pairs.data(), 0.25f, halved.data());
      split(halved.data(), half_, y, half_.first);
      for (size_t axis = 0; axis < 2; ++axis) {
        float* const plane = half_.flow + axis * half_.shape.numbers();
        halve(pairs.data() + 2 * (1 + axis) * width, 0.125f, halved.data());
        split(halved.data(), half_, y, plane);
        const size_t at = y * half_.shape.pitch();
        std::copy_n(plane + at, half_.shape.pitch(), before_ + axis * half_.shape.numbers() + at);
      }
    }
  }

 private:
  static void split(const float* row, const Level& level, size_t y, float* plane) {
    float* const even = plane + y * level.shape.pitch();
    split_row(row, level.shape.width, even, even + level.shape.half());
  }

  const Refinement& of_;
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
      float* const even = whole.flow + axis * whole.shape.numbers() + y * whole.shape.pitch();
      add_doubled(merged.data(), whole.shape.width, even, even + whole.shape.half());
    }
  }
}

// The refined flow, x and y in turns.
void write(const Refinement& of, const Level& whole, size_t begin, size_t end) {
  const float* const refined = whole.flow_at(kRounds);
  std::vector<float> both(2 * of.width);
  for (size_t y = begin; y < end; ++y) {
    for (size_t axis = 0; axis < 2; ++axis) {
      const float* even = refined + axis * whole.shape.numbers() + y * whole.shape.pitch();
      merge_row(even, even + whole.shape.half(), of.width, both.data() + axis * of.width);
    }
    merge_row(both.data(), both.data() + of.width, 2 * of.width, of.refined + 2 * y * of.width);
  }
}

}  // namespace

void Refinement::run(size_t threads) const {
  // Places in the second image are numbers of 32 bits.
  if (width > static_cast<size_t>(std::numeric_limits<int32_t>::max()) / height) {
    throw std::bad_alloc();
  }
  const size_t half_height = (height + 1) / 2, half_width = (width + 1) / 2;
  const size_t at_half = Level::numbers(half_height, half_width);
  const size_t at_whole = Level::numbers(height, width);
  const size_t changed = 2 * SplitRows{half_height, half_width}.numbers();
  const Memory memory(at_whole + at_half + changed);
  const Level whole(height, width, memory.data());
  const Level half(half_height, half_width, memory.data() + at_whole);
  float* const before = memory.data() + at_whole + at_half;
  const Preparation preparation(*this, whole, half, before);
  std::vector<Phase> phases = {
      {half_height, [&](size_t begin, size_t end) { preparation.rows(begin, end); }}};
  half.add_rounds(kHalfRounds, phases);
  phases.push_back(
      {height, [&](size_t begin, size_t end) { add_change(whole, half, before, begin, end); }});
  whole.add_rounds(kRounds, phases);
  phases.push_back({height, [&](size_t begin, size_t end) { write(*this, whole, begin, end); }});
  run_phases(phases, std::max<size_t>(1, std::min(threads, half_height / kLeastRows)));
}

}  // namespace flow
