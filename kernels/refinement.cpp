#include "kernels/refinement.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <functional>
#include <memory>
#include <system_error>
#include <thread>
#include <vector>

#include "kernels/lanes.h"
#include "kernels/variational.h"

namespace flow {
namespace {

// As in engine/refinement/plain.py.
constexpr size_t kHalfRounds = 4, kRounds = 1;
// Fewer rows take a thread less time than starting it.
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
  std::atomic<bool> failed = false, started = false;
  const auto part = [&](size_t index) noexcept {
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
  };
  std::vector<std::thread> others;
  others.reserve(threads);
  try {
    for (size_t index = 1; index < threads; ++index) {
      others.emplace_back([&, index] {
        while (!started && !failed) std::this_thread::yield();
        if (started) part(index);
      });
    }
    started = true;
    part(0);
  } catch (const std::system_error&) {  // a thread cannot be started
    failures[0] = std::current_exception();
    failed = true;
  }
  for (std::thread& thread : others) thread.join();
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

FLOW_CLONES
void split_row(const float* flow, size_t width, float* __restrict x, float* __restrict y) {
  for (size_t i = 0; i < width; ++i) x[i] = flow[2 * i], y[i] = flow[2 * i + 1];
}

FLOW_CLONES
void merge_row(const float* x, const float* y, size_t width, float* __restrict flow) {
  for (size_t i = 0; i < width; ++i) flow[2 * i] = x[i], flow[2 * i + 1] = y[i];
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

// Adds a row of twice the width.
FLOW_CLONES
void add_doubled(const float* half, size_t width, float* __restrict row) {
  const size_t last = (width - 1) / 2;
  row[0] += half[0];
  FLOW_INDEPENDENT
  for (size_t i = 0; i < last; ++i) {
    row[2 * i + 1] += 0.75f * half[i] + 0.25f * half[i + 1];
    row[2 * i + 2] += 0.25f * half[i] + 0.75f * half[i + 1];
  }
  if (width % 2 == 0) row[width - 1] += half[last];
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
  size_t height, width, pixels;
  float *first, *second, *flow, *refined;

  Level(size_t height, size_t width, float* memory)
      : height(height),
        width(width),
        pixels(height * width),
        first(memory),
        second(first + pixels),
        flow(second + pixels),
        refined(flow + 2 * pixels) {}

  static size_t numbers(size_t height, size_t width) { return 6 * height * width; }

  // Its flow before a round, and after all of them.
  float* flow_at(size_t round) const { return round % 2 == 0 ? flow : refined; }

  void add_rounds(size_t rounds, std::vector<Phase>& phases) const {
    for (size_t round = 0; round < rounds; ++round) {
      const VariationalRound step = {first,  second, flow_at(round), flow_at(round + 1),
                                     height, width};
      phases.push_back({height, [step](size_t begin, size_t end) { step.rows(begin, end); }});
    }
  }
};

// The grey images and the flow of both levels.
void prepare(const Refinement& of, const Level& whole, const Level& half, float* before,
             size_t begin, size_t end) {
  for (size_t y = 2 * begin; y < std::min(2 * end, of.height); ++y) {
    const size_t at = y * of.width;
    grey_row(of.first + 3 * at, of.width, whole.first + at);
    grey_row(of.second + 3 * at, of.width, whole.second + at);
    split_row(of.flow + 2 * at, of.width, whole.flow + at, whole.flow + whole.pixels + at);
  }
  const auto halve = [&](const float* numbers, size_t y, float scale, float* halved) {
    const float* above = numbers + 2 * y * of.width;
    const float* below = 2 * y + 1 < of.height ? above + of.width : above;
    halve_row(above, below, of.width, scale, halved + y * half.width);
  };
  for (size_t y = begin; y < end; ++y) {
    halve(whole.first, y, 0.25f, half.first);
    halve(whole.second, y, 0.25f, half.second);
    for (size_t axis = 0; axis < 2; ++axis) {
      float* plane = half.flow + axis * half.pixels;
      halve(whole.flow + axis * whole.pixels, y, 0.125f, plane);
      const size_t at = y * half.width;
      std::copy_n(plane + at, half.width, before + axis * half.pixels + at);
    }
  }
}

// Adds what the rounds at half the resolution have changed.
void add_change(const Level& whole, const Level& half, const float* before, size_t begin,
                size_t end) {
  const float* after = half.flow_at(kHalfRounds);
  std::vector<float> change(half.width);
  for (size_t y = begin; y < end; ++y) {
    const size_t near = y / 2;
    const size_t far = y % 2 == 1 ? std::min(near + 1, half.height - 1) : near > 0 ? near - 1 : 0;
    for (size_t axis = 0; axis < 2; ++axis) {
      const size_t near_row = axis * half.pixels + near * half.width;
      const size_t far_row = axis * half.pixels + far * half.width;
      change_row(after + near_row, before + near_row, after + far_row, before + far_row, half.width,
                 change.data());
      add_doubled(change.data(), whole.width, whole.flow + axis * whole.pixels + y * whole.width);
    }
  }
}

}  // namespace

void Refinement::run(size_t threads) const {
  const size_t half_height = (height + 1) / 2, half_width = (width + 1) / 2;
  const size_t at_half = Level::numbers(half_height, half_width);
  const size_t at_whole = Level::numbers(height, width);
  const Memory memory(at_whole + at_half + 2 * half_height * half_width);
  const Level whole(height, width, memory.data());
  const Level half(half_height, half_width, memory.data() + at_whole);
  float* const before = memory.data() + at_whole + at_half;
  std::vector<Phase> phases = {{half.height, [&](size_t begin, size_t end) {
                                  prepare(*this, whole, half, before, begin, end);
                                }}};
  half.add_rounds(kHalfRounds, phases);
  phases.push_back(
      {height, [&](size_t begin, size_t end) { add_change(whole, half, before, begin, end); }});
  whole.add_rounds(kRounds, phases);
  phases.push_back({height, [&](size_t begin, size_t end) {
                      const float* x = whole.flow_at(kRounds);
                      for (size_t y = begin; y < end; ++y) {
                        merge_row(x + y * width, x + whole.pixels + y * width, width,
                                  refined + 2 * y * width);
                      }
                    }});
  run_phases(phases, std::max<size_t>(1, std::min(threads, half.height / kLeastRows)));
}

}  // namespace flow
