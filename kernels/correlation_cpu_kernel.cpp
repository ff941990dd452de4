// The inner loops, compiled once per instruction set: FLOW_VARIANT names the table, FLOW_LANES is
// the number of floats in a vector, FLOW_REGISTERS the number of vector registers.

#include "kernels/correlation_cpu_kernel.h"

#include <cstring>

namespace flow {
namespace {

constexpr int kLanes = FLOW_LANES;
typedef float Vector __attribute__((vector_size(kLanes * sizeof(float))));
typedef float Unaligned
    __attribute__((vector_size(kLanes * sizeof(float)), aligned(alignof(float)), may_alias));

// Rows x steps accumulators, one vector of f1 per row and one of f2 must fit into the registers.
// A load of f2 mostly straddles two cache lines and costs two load slots, so several rows share it.
constexpr int kRows = FLOW_REGISTERS >= 32 ? 3 : 2;
constexpr int kSteps = FLOW_REGISTERS >= 32 ? 7 : 6;
constexpr int kChannelBlock = FLOW_REGISTERS >= 32 ? 16 : 8;
static_assert(kRows <= kMaxRows && kRows * (kSteps + 1) + 1 <= FLOW_REGISTERS, "registers");

inline Vector load(const float* from) { return *reinterpret_cast<const Unaligned*>(from); }
inline void store(float* to, Vector value) { *reinterpret_cast<Unaligned*>(to) = value; }

// Keeps a loaded vector in a register; the compiler would rather load it again for every product.
inline void keep(Vector& value) {
#if defined(__x86_64__)
  asm("" : "+v"(value));
#elif defined(__aarch64__)
  asm("" : "+w"(value));
#else
  (void)value;
#endif
}

// Columns back from residue order: row[residue + stride * i] = packed[residue][i].
void interleave(const Geometry& g, const float* packed, float* row) {
  if (g.stride == 1) {
    std::memcpy(row, packed, g.width * sizeof(float));
  } else if (g.stride == 2) {
    const float* odd = packed + g.pitch;
    const int pairs = g.width / 2;
    for (int i = 0; i < pairs; ++i) {
      row[2 * i] = packed[i];
      row[2 * i + 1] = odd[i];
    }
    if (g.width % 2) row[g.width - 1] = packed[pairs];
  } else {
    for (int x = 0; x < g.width; ++x) row[x] = packed[(x % g.stride) * g.pitch + x / g.stride];
  }
}

// One vector of pixels of ROWS rows at STEPS neighbouring displacements, over all channels.
template <int ROWS, int STEPS>
void banded_product(const Geometry& g, const float* const* f1, const float* f2, float* out,
                    size_t row_size, size_t step_size) {
  Vector sum[ROWS][STEPS] = {};
  const float* rows[ROWS];
  for (int i = 0; i < ROWS; ++i) rows[i] = f1[i];
  for (int c = 0; c < g.channels; ++c) {
    Vector first[ROWS];
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i) first[i] = load(rows[i] + static_cast<size_t>(c) * g.pitch);
#pragma GCC unroll 8
    for (int j = 0; j < STEPS; ++j) {
      Vector second = load(f2 + static_cast<size_t>(c) * g.wide + j);
      keep(second);
#pragma GCC unroll 8
      for (int i = 0; i < ROWS; ++i) sum[i][j] += first[i] * second;
    }
  }
  const float scale = 1.0f / g.channels;
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < STEPS; ++j) store(out + i * row_size + j * step_size, sum[i][j] * scale);
  }
}

using Product = void (*)(const Geometry&, const float* const*, const float*, float*, size_t,
                         size_t);

template <int ROWS>
Product product_of(int steps) {
  static_assert(kSteps <= 7, "table too short");
  static constexpr Product kProducts[] = {banded_product<ROWS, 1>, banded_product<ROWS, 2>,
                                          banded_product<ROWS, 3>, banded_product<ROWS, 4>,
                                          banded_product<ROWS, 5>, banded_product<ROWS, 6>,
                                          banded_product<ROWS, 7>};
  return kProducts[steps - 1];
}

Product product_of(int rows, int steps) {
  if (rows == 1) return product_of<1>(steps);
  return rows == 2 ? product_of<2>(steps) : product_of<kRows>(steps);
}

void forward(const Geometry& g, const ForwardRows& task) {
  const size_t step_size = static_cast<size_t>(g.stride) * g.pitch;
  const size_t row_size = g.count * step_size;
  // Blocks of nearly equal size: a short rest would leave the multipliers waiting for each other.
  const int blocks = (g.count + kSteps - 1) / kSteps;
  for (int block = 0; block < blocks; ++block) {
    const int begin = g.count * block / blocks;
    const int steps = g.count * (block + 1) / blocks - begin;
    const Product product = product_of(task.rows, steps);
    for (int residue = 0; residue < g.stride; ++residue) {
      const float* f2 = task.f2 + static_cast<size_t>(residue) * g.channels * g.wide + begin;
      for (int v = 0; v < g.vectors; ++v) {
        const float* f1[kMaxRows];
        for (int i = 0; i < task.rows; ++i) {
          f1[i] = task.f1[i] + static_cast<size_t>(residue) * g.channels * g.pitch + v * kLanes;
        }
        float* out = task.scratch + begin * step_size + residue * g.pitch + v * kLanes;
        product(g, f1, f2 + v * kLanes, out, row_size, step_size);
      }
    }
  }
  for (int i = 0; i < task.rows; ++i) {
    for (int j = 0; j < g.count; ++j) {
      interleave(g, task.scratch + i * row_size + j * step_size, task.out[i] + j * g.plane);
    }
  }
}

// One vector of pixels of kChannelBlock channels, over all displacements that stay in the image.
// f1 at x is multiplied by f2 at x + shift: the gradient of f1 reads the weights in place and f2
// shifted forward; the gradient of f2 reads both the weights and f1 shifted backward.
void gradient_vector(const Geometry& g, const GradientRow& task, int residue, int v, float* out) {
  Vector sum[kChannelBlock] = {};
  const size_t feature_row = static_cast<size_t>(g.stride) * g.channels * g.wide;
  const size_t weight_row = static_cast<size_t>(g.stride) * g.count * g.count * g.wide;
  const int direction = task.second ? -1 : 1;
  for (int i = 0; i < g.count; ++i) {
    const int other = task.row + direction * (i - g.radius) * g.stride;
    if (other < 0 || other >= task.height) continue;
    const float* feature =
        task.features + other * feature_row + v * kLanes +
        (static_cast<size_t>(residue) * g.channels + task.first_channel) * g.wide;
    const float* weight = task.weights + (task.second ? other : task.row) * weight_row +
                          v * kLanes +
                          (static_cast<size_t>(residue) * g.count + i) * g.count * g.wide;
    for (int j = 0; j < g.count; ++j) {
      const int shift = task.second ? 2 * g.radius - j : j;
      const Vector w =
          load(weight + static_cast<size_t>(j) * g.wide + (task.second ? shift : g.radius));
#pragma GCC unroll 16
      for (int c = 0; c < kChannelBlock; ++c) {
        sum[c] += w * load(feature + static_cast<size_t>(c) * g.wide + shift);
      }
    }
  }
  const float scale = 1.0f / g.channels;
#pragma GCC unroll 16
  for (int c = 0; c < kChannelBlock; ++c) store(out + c * g.stride * g.pitch, sum[c] * scale);
}

void gradient(const Geometry& g, const GradientRow& task) {
  for (int residue = 0; residue < g.stride; ++residue) {
    for (int v = 0; v < g.vectors; ++v) {
      gradient_vector(g, task, residue, v, task.scratch + residue * g.pitch + v * kLanes);
    }
  }
  for (int c = 0; c < kChannelBlock && task.first_channel + c < g.channels; ++c) {
    interleave(g, task.scratch + static_cast<size_t>(c) * g.stride * g.pitch,
               task.out + (task.first_channel + c) * g.plane);
  }
}

}  // namespace

extern const Variant FLOW_VARIANT;
const Variant FLOW_VARIANT = {kLanes, kRows, kChannelBlock, forward, gradient};

}  // namespace flow
