// The CPU home of the correlation: checks, packing by column residue, threads. The arithmetic is in
// correlation_cpu_kernel.cpp, once per instruction set.

#include <omp.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "kernels/correlation.h"
#include "kernels/correlation_arguments.h"
#include "kernels/correlation_cpu_kernel.h"

namespace flow {
namespace {

struct Free {
  void operator()(float* memory) const { std::free(memory); }
};
using Buffer = std::unique_ptr<float, Free>;

// 64-byte aligned and uninitialised; null when there is no memory.
Buffer allocate(size_t floats) {
  const size_t bytes = (floats * sizeof(float) + 63) / 64 * 64;
  return Buffer(static_cast<float*>(std::aligned_alloc(64, bytes)));
}

const Variant* variant_of(int32_t name) {
  switch (name) {
    case FLOW_CPU_BASELINE:
      return &kBaseline;
#ifdef FLOW_X86_64
    case FLOW_CPU_AVX2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &kAvx2 : nullptr;
    case FLOW_CPU_AVX512:
      return __builtin_cpu_supports("avx512f") ? &kAvx512 : nullptr;
#endif
    default:
      return nullptr;
  }
}

int32_t best_variant() {
  for (int32_t name : {FLOW_CPU_AVX512, FLOW_CPU_AVX2}) {
    if (variant_of(name) != nullptr) return name;
  }
  return FLOW_CPU_BASELINE;
}

// One call: geometry, variant and threads, worked out from its arguments.
struct Call {
  explicit Call(const FlowCorrelation& a)
      : args(a),
        variant(variant_of(a.variant == FLOW_AUTO ? best_variant() : a.variant)),
        threads(a.threads > 0 ? a.threads : omp_get_max_threads()) {
    if (variant == nullptr) return;
    const int per_residue = (a.width + a.stride_2 - 1) / a.stride_2;
    const int radius = a.max_displacement / a.stride_2;
    const int vectors = (per_residue + variant->lanes - 1) / variant->lanes;
    const int pitch = vectors * variant->lanes;
    geometry = {a.channels,
                a.width,
                a.stride_2,
                radius,
                2 * radius + 1,
                vectors,
                pitch,
                pitch + 2 * radius,
                static_cast<size_t>(a.height) * a.width};
  }

  size_t packed_row(int planes, int pitch) const {
    return static_cast<size_t>(geometry.stride) * planes * pitch;
  }

  FlowCorrelation args;
  const Variant* variant;
  int threads;
  Geometry geometry;
};

// Row y of `planes` planes -> [residue][plane][pitch] with `halo` zeros on the left, zeros after.
void pack_row(const Geometry& g, const float* image, int planes, int y, int halo, int pitch,
              float* packed) {
  const int stride = g.stride;
  const size_t residue_size = static_cast<size_t>(planes) * pitch;
  for (int plane = 0; plane < planes; ++plane) {
    const float* row = image + plane * g.plane + static_cast<size_t>(y) * g.width;
    for (int residue = 0; residue < stride; ++residue) {
      float* to = packed + residue * residue_size + static_cast<size_t>(plane) * pitch;
      const int columns = residue < g.width ? (g.width - residue - 1) / stride + 1 : 0;
      std::fill(to, to + halo, 0.0f);
      // Constant strides let the compiler turn these loops into shuffles.
      if (stride == 1) {
        std::copy(row, row + columns, to + halo);
      } else if (stride == 2) {
        for (int i = 0; i < columns; ++i) to[halo + i] = row[residue + 2 * i];
      } else {
        for (int i = 0; i < columns; ++i) to[halo + i] = row[residue + stride * i];
      }
      std::fill(to + halo + columns, to + pitch, 0.0f);
    }
  }
}

// Packs all rows of one image; `halo` is 0 or the radius.
void pack(const Call& call, const float* image, int planes, int halo, float* packed) {
  const Geometry& g = call.geometry;
  const int pitch = halo > 0 ? g.wide : g.pitch;
  const size_t row_size = call.packed_row(planes, pitch);
#pragma omp parallel for num_threads(call.threads) schedule(static)
  for (int y = 0; y < call.args.height; ++y) {
    pack_row(g, image, planes, y, halo, pitch, packed + y * row_size);
  }
}

// A group of output rows (equal modulo the stride) and one row of f2.
struct Pairing {
  Pairing(const Call& call, int group, int step) {
    const Geometry& g = call.geometry;
    const int rows = call.variant->rows, height = call.args.height;
    base = group / g.stride * rows * g.stride + group % g.stride;
    other = base + (step - g.radius) * g.stride;
    first = std::max(0, step - 2 * g.radius);
    last = std::min(rows, step + 1);
    while (last > first && base + (last - 1) * g.stride >= height) --last;
  }
  int base;         // first row of the group
  int other;        // row of f2, perhaps outside the image
  int first, last;  // members of the group that reach it
};

void forward_pairing(const Call& call, int step, const Pairing& pair, const float* packed1,
                     const float* packed2, float* out, float* scratch) {
  const Geometry& g = call.geometry;
  ForwardRows task = {pair.last - pair.first, {}, nullptr, {}, scratch};
  for (int i = 0; i < task.rows; ++i) {
    const int member = pair.first + i;
    const size_t y = pair.base + member * g.stride;
    task.f1[i] = packed1 + y * call.packed_row(g.channels, g.pitch);
    task.out[i] = out + static_cast<size_t>(step - member) * g.count * g.plane + y * g.width;
  }
  if (pair.other >= 0 && pair.other < call.args.height) {
    task.f2 = packed2 + pair.other * call.packed_row(g.channels, g.wide);
    call.variant->forward(g, task);
    return;
  }
  for (int i = 0; i < task.rows; ++i) {
    for (int j = 0; j < g.count; ++j) {
      std::fill_n(task.out[i] + j * g.plane, g.width, 0.0f);
    }
  }
}

int32_t forward(const Call& call, const float* f1, const float* f2, float* out) {
  const Geometry& g = call.geometry;
  const size_t height = call.args.height, features = g.channels * g.plane;
  const size_t scratch_size = call.variant->rows * g.count * call.packed_row(1, g.pitch);
  const Buffer packed1 = allocate(height * call.packed_row(g.channels, g.pitch));
  const Buffer packed2 = allocate(height * call.packed_row(g.channels, g.wide));
  const Buffer scratch = allocate(call.threads * scratch_size);
  if (!packed1 || !packed2 || !scratch) return FLOW_NO_MEMORY;

  const int block = call.variant->rows * g.stride;
  const int groups = (call.args.height + block - 1) / block * g.stride;
  const int steps = g.count + call.variant->rows - 1;
  for (int n = 0; n < call.args.batch; ++n) {
    pack(call, f1 + n * features, g.channels, 0, packed1.get());
    pack(call, f2 + n * features, g.channels, g.radius, packed2.get());
    float* image = out + n * (static_cast<size_t>(g.count) * g.count * g.plane);
#pragma omp parallel for num_threads(call.threads) schedule(dynamic, 4)
    for (int index = 0; index < groups * steps; ++index) {
      const Pairing pair(call, index / steps, index % steps);
      if (pair.first >= pair.last) continue;
      forward_pairing(call, index % steps, pair, packed1.get(), packed2.get(), image,
                      scratch.get() + omp_get_thread_num() * scratch_size);
    }
  }
  return FLOW_OK;
}

// grad_f1 (from f2) or, with `second`, grad_f2 (from f1) of one image.
void gradient(const Call& call, bool second, const float* weights, const float* features,
              float* scratch, float* out) {
  const Geometry& g = call.geometry;
  const int block = call.variant->channel_block;
  const int blocks = (g.channels + block - 1) / block;
#pragma omp parallel for num_threads(call.threads) schedule(dynamic)
  for (int index = 0; index < call.args.height * blocks; ++index) {
    const int y = index / blocks;
    const GradientRow task = {y,
                              call.args.height,
                              second,
                              index % blocks * block,
                              weights,
                              features,
                              out + static_cast<size_t>(y) * g.width,
                              scratch + omp_get_thread_num() * call.packed_row(block, g.pitch)};
    call.variant->gradient(g, task);
  }
}

int32_t backward(const Call& call, const float* grad_out, const float* f1, const float* f2,
                 float* grad_f1, float* grad_f2) {
  const Geometry& g = call.geometry;
  const size_t height = call.args.height, features = g.channels * g.plane;
  const int planes = g.count * g.count, block = call.variant->channel_block;
  const Buffer weights = allocate(height * call.packed_row(planes, g.wide));
  // The last block of channels may read past the last channel; what it computes there is dropped.
  const Buffer packed = allocate(height * call.packed_row(g.channels, g.wide) + block * g.wide);
  const Buffer scratch = allocate(call.threads * call.packed_row(block, g.pitch));
  if (!weights || !packed || !scratch) return FLOW_NO_MEMORY;

  for (int n = 0; n < call.args.batch; ++n) {
    pack(call, grad_out + n * (planes * g.plane), planes, g.radius, weights.get());
    for (const bool second : {false, true}) {
      float* out = second ? grad_f2 : grad_f1;
      if (out == nullptr) continue;
      const float* from = second ? f1 : f2;
      pack(call, from + n * features, g.channels, g.radius, packed.get());
      gradient(call, second, weights.get(), packed.get(), scratch.get(), out + n * features);
    }
  }
  return FLOW_OK;
}

int32_t check_cpu(const FlowCorrelation& args) {
  const int32_t status = check(args);
  if (status != FLOW_OK) return status;
  if (args.dtype != FLOW_FLOAT32) return FLOW_BAD_DTYPE;
  if (args.variant != FLOW_AUTO && variant_of(args.variant) == nullptr) return FLOW_BAD_VARIANT;
  return FLOW_OK;
}

}  // namespace
}  // namespace flow

int32_t flow_correlation_cpu_forward(const FlowCorrelation* args, const void* f1, const void* f2,
                                     void* out) {
  const int32_t status = flow::check_cpu(*args);
  if (status != FLOW_OK) return status;
  return flow::forward(flow::Call(*args), static_cast<const float*>(f1),
                       static_cast<const float*>(f2), static_cast<float*>(out));
}

int32_t flow_correlation_cpu_backward(const FlowCorrelation* args, const void* grad_out,
                                      const void* f1, const void* f2, void* grad_f1,
                                      void* grad_f2) {
  const int32_t status = flow::check_cpu(*args);
  if (status != FLOW_OK) return status;
  return flow::backward(flow::Call(*args), static_cast<const float*>(grad_out),
                        static_cast<const float*>(f1), static_cast<const float*>(f2),
                        static_cast<float*>(grad_f1), static_cast<float*>(grad_f2));
}

const char* flow_correlation_cpu_message(int32_t status) { return flow::message(status); }
