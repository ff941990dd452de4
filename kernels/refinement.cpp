#include "kernels/refinement.h"

#include <algorithm>
#include <exception>
#include <functional>
#include <memory>
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

// Calls for rows [begin, end), divided among threads. Each call throws std::bad_alloc alone.
void for_rows(size_t height, size_t threads, const std::function<void(size_t, size_t)>& call) {
  threads = std::max<size_t>(1, std::min(threads, height / kLeastRows));
  std::vector<std::exception_ptr> failures(threads);
  const auto part = [&](size_t index) noexcept {
    try {
      call(height * index / threads, height * (index + 1) / threads);
    } catch (...) {
      failures[index] = std::current_exception();
    }
  };
  std::vector<std::thread> others;
  others.reserve(threads);
  try {
    for (size_t index = 1; index < threads; ++index) others.emplace_back(part, index);
    part(0);
  } catch (...) {
    failures[0] = std::current_exception();
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

// Not set to zero: the system provides memory when it is first written, to each thread its own.
using Numbers = std::unique_ptr<float[]>;

// A pair at one resolution.
struct Level {
  size_t height, width, pixels;
  Numbers first, second, flow, refined;

  Level(size_t height, size_t width)
      : height(height),
        width(width),
        pixels(height * width),
        first(new float[pixels]),
        second(new float[pixels]),
        flow(new float[2 * pixels]),
        refined(new float[2 * pixels]) {}

  // The result is `flow`.
  void refine(size_t rounds, size_t threads) {
    for (size_t round = 0; round < rounds; ++round) {
      const VariationalRound step = {first.get(),   second.get(), flow.get(),
                                     refined.get(), height,       width};
      for_rows(height, threads, [&](size_t begin, size_t end) { step.rows(begin, end); });
      std::swap(flow, refined);
    }
  }
};

void halve(const float* numbers, const Level& of, size_t y, float scale, float* halved) {
  const float* above = numbers + 2 * y * of.width;
  const float* below = 2 * y + 1 < of.height ? above + of.width : above;
  halve_row(above, below, of.width, scale, halved + y * ((of.width + 1) / 2));
}

}  // namespace

void Refinement::run(size_t threads) const {
  Level whole(height, width), half((height + 1) / 2, (width + 1) / 2);
  const Numbers before(new float[2 * half.pixels]);
  for_rows(half.height, threads, [&](size_t begin, size_t end) {
    for (size_t y = 2 * begin; y < std::min(2 * end, height); ++y) {
      const size_t at = y * width;
      grey_row(first + 3 * at, width, whole.first.get() + at);
      grey_row(second + 3 * at, width, whole.second.get() + at);
      split_row(flow + 2 * at, width, whole.flow.get() + at, whole.flow.get() + whole.pixels + at);
    }
    for (size_t y = begin; y < end; ++y) {
      halve(whole.first.get(), whole, y, 0.25f, half.first.get());
      halve(whole.second.get(), whole, y, 0.25f, half.second.get());
      for (size_t axis = 0; axis < 2; ++axis) {
        float* const row = half.flow.get() + axis * half.pixels;
        halve(whole.flow.get() + axis * whole.pixels, whole, y, 0.125f, row);
        std::copy_n(row + y * half.width, half.width,
                    before.get() + axis * half.pixels + y * half.width);
      }
    }
  });
  half.refine(kHalfRounds, threads);
  for_rows(height, threads, [&](size_t begin, size_t end) {
    std::vector<float> change(half.width);
    for (size_t y = begin; y < end; ++y) {
      const size_t near = y / 2;
      const size_t far = y % 2 == 1 ? std::min(near + 1, half.height - 1) : near > 0 ? near - 1 : 0;
      for (size_t axis = 0; axis < 2; ++axis) {
        const float* after = half.flow.get() + axis * half.pixels;
        const float* from = before.get() + axis * half.pixels;
        change_row(after + near * half.width, from + near * half.width, after + far * half.width,
                   from + far * half.width, half.width, change.data());
        add_doubled(change.data(), width, whole.flow.get() + axis * whole.pixels + y * width);
      }
    }
  });
  whole.refine(kRounds, threads);
  for_rows(height, threads, [&](size_t begin, size_t end) {
    for (size_t y = begin; y < end; ++y) {
      const float* x = whole.flow.get() + y * width;
      merge_row(x, x + whole.pixels, width, refined + 2 * y * width);
    }
  });
}

}  // namespace flow
