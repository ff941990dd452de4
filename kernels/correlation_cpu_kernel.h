// What correlation_cpu.cpp (checks, packing, threads) asks of correlation_cpu_kernel.cpp, which is
// compiled once per instruction set.
//
// Columns are split by residue modulo stride_2, so that all displacements along a row become shifts
// by whole elements: a packed row is [residue][plane][pitch], a plane being a channel of a feature
// map or a displacement of an output gradient.

#ifndef FLOW_KERNELS_CORRELATION_CPU_KERNEL_H_
#define FLOW_KERNELS_CORRELATION_CPU_KERNEL_H_

#include <cstddef>

namespace flow {

constexpr int kMaxRows = 3;

// The geometry shared by all rows of one image.
struct Geometry {
  int channels;
  int width;
  int stride;    // stride_2, the number of residues
  int radius;    // max_displacement / stride_2
  int count;     // 2 * radius + 1
  int vectors;   // vectors per residue
  int pitch;     // packed columns without halo: vectors * lanes
  int wide;      // packed columns with a halo of `radius` zeros on both sides
  size_t plane;  // height * width
};

// Up to kMaxRows rows of f1 against one row of f2: one vertical displacement for each.
struct ForwardRows {
  int rows;
  const float* f1[kMaxRows];  // packed, without halo
  const float* f2;            // packed, with halo
  float* out[kMaxRows];       // first of `count` output planes, at the row
  float* scratch;             // rows * count * stride * pitch floats
};

// A block of channels of one row of a gradient: sum over k of weight[k] * feature[channel], both
// read at shifts (see gradient_vector in correlation_cpu_kernel.cpp).
struct GradientRow {
  int row, height;
  bool second;            // gradient of f2 instead of f1
  int first_channel;      // a multiple of the variant's channel block
  const float* weights;   // packed output gradient, count * count planes a row, with halo
  const float* features;  // packed f2 (or f1), with halo
  float* out;             // gradient, channel 0, at the row
  float* scratch;         // channel block * stride * pitch floats
};

struct Variant {
  int lanes;          // floats in a vector
  int rows;           // rows of f1 that share one row of f2, at most kMaxRows
  int channel_block;  // channels of a gradient computed together
  void (*forward)(const Geometry&, const ForwardRows&);
  void (*gradient)(const Geometry&, const GradientRow&);
};

extern const Variant kBaseline;
#ifdef FLOW_X86_64
extern const Variant kAvx2;
extern const Variant kAvx512;
#endif

}  // namespace flow

#endif  // FLOW_KERNELS_CORRELATION_CPU_KERNEL_H_
