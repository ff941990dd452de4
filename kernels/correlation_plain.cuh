// The kernels without tensor cores: forward and both gradients for every type and every argument
// that fits into shared memory, and the classic forward kernel that the bench compares with.

#ifndef FLOW_KERNELS_CORRELATION_PLAIN_CUH_
#define FLOW_KERNELS_CORRELATION_PLAIN_CUH_

#include "kernels/correlation_device.cuh"

namespace flow {

constexpr int kPixels = 4;  // neighbouring pixels of one residue a thread
constexpr int kShifts = 8;  // neighbouring displacements a thread
constexpr int kPlainChunk = 16;

// How a block of the plain forward kernel covers a row: `quads` x `groups` threads, each 4 pixels
// of one residue by 8 displacements.
struct PlainLayout {
  int residues, quads, groups;
  int columns;         // image columns a block
  int pitch1, pitch2;  // floats per channel and residue in shared memory
  __host__ __device__ PlainLayout(int max_displacement, int stride) : residues(stride) {
    const int per_residue = stride < 16 ? 16 / stride : 1;
    quads = stride * per_residue;
    groups = (2 * (max_displacement / stride) + kShifts) / kShifts;
    columns = kPixels * quads;
    pitch1 = kPixels * per_residue;
    pitch2 = pitch1 + kShifts * groups + 4;
  }
  __host__ __device__ int bytes_per_channel() const {
    return residues * (pitch1 + pitch2) * static_cast<int>(sizeof(float));
  }
};

// Columns start .. of `chunk` channels of a row as [channel][residue][pitch] floats, zero outside.
template <typename T>
__device__ void stage_row(const T* row, int chunk, size_t plane, int start, int width, int residues,
                          int pitch, float* to) {
  const int columns = residues * pitch;
  for (int index = threadIdx.x; index < chunk * columns; index += blockDim.x) {
    const int channel = index / columns, column = index % columns;
    const int x = start + column;
    const bool inside = x >= 0 && x < width;
    to[channel * columns + column % residues * pitch + column / residues] =
        inside ? to_float(row[channel * plane + x]) : 0.0f;
  }
}

// Grid: (columns / layout.columns, height, batch * count), quads * groups threads. One row of f1
// against one row of f2; like a short filter, 4 pixels by 8 displacements need 4 + 11 loads.
template <typename T>
__device__ void plain_forward(const T* f1, const T* f2, int channels, int height, int width,
                              int max_displacement, int stride, int chunk, T* out) {
  FLOW_DYNAMIC_SHARED(shared);
  const PlainLayout layout(max_displacement, stride);
  const int count = 2 * (max_displacement / stride) + 1;
  const int n = blockIdx.z / count, i = blockIdx.z % count;
  const int x0 = blockIdx.x * layout.columns, y = blockIdx.y;
  const int other = y - max_displacement + i * stride;
  const size_t plane = static_cast<size_t>(height) * width;
  const int quad = threadIdx.x % layout.quads, group = threadIdx.x / layout.quads;
  const int residue = quad % stride, first = quad / stride * kPixels;

  float* stage1 = reinterpret_cast<float*>(shared);
  float* stage2 = stage1 + chunk * stride * layout.pitch1;
  float sum[kPixels][kShifts] = {};
  const bool inside = other >= 0 && other < height;
  for (int c = 0; inside && c < channels; c += chunk) {
    const int some = min(chunk, channels - c);
    const size_t offset = (static_cast<size_t>(n) * channels + c) * plane;
    stage_row(f1 + offset + static_cast<size_t>(y) * width, some, plane, x0, width, stride,
              layout.pitch1, stage1);
    stage_row(f2 + offset + static_cast<size_t>(other) * width, some, plane, x0 - max_displacement,
              width, stride, layout.pitch2, stage2);
    __syncthreads();
    for (int k = 0; k < some; ++k) {
      const float* row1 = stage1 + (k * stride + residue) * layout.pitch1 + first;
      const float* row2 = stage2 + (k * stride + residue) * layout.pitch2 + first + group * kShifts;
      float a[kPixels], b[kPixels + kShifts];
      *reinterpret_cast<float4*>(a) = *reinterpret_cast<const float4*>(row1);
#pragma unroll
      for (int v = 0; v < kPixels + kShifts; v += 4) {
        *reinterpret_cast<float4*>(b + v) = *reinterpret_cast<const float4*>(row2 + v);
      }
#pragma unroll
      for (int p = 0; p < kPixels; ++p) {
#pragma unroll
        for (int j = 0; j < kShifts; ++j) sum[p][j] += a[p] * b[p + j];
      }
    }
    __syncthreads();
  }

  const float scale = 1.0f / channels;
#pragma unroll
  for (int j = 0; j < kShifts; ++j) {
    const int shift = group * kShifts + j;
    if (shift >= count) break;
    const size_t k = (static_cast<size_t>(n) * count + i) * count + shift;
#pragma unroll
    for (int p = 0; p < kPixels; ++p) {
      const int x = x0 + residue + (first + p) * stride;
      if (x < width) assign(out[k * plane + static_cast<size_t>(y) * width + x], sum[p][j] * scale);
    }
  }
}

constexpr int kGradientColumns = 32;  // a warp
constexpr int kGradientWarps = 8;
constexpr int kGradientChannels = 64;  // a block: 8 a thread

// Grid: (columns / 32, height, batch * channels / 64 rounded up), 256 threads. The gradient of f1,
// from f2; or with SECOND the gradient of f2, from f1. Each element is summed by one thread, so the
// result does not depend on scheduling.
template <typename T, bool SECOND>
__device__ void plain_gradient(const T* grad_out, const T* features, int channels, int height,
                               int width, int max_displacement, int stride, T* grad) {
  constexpr int kMine = kGradientChannels / kGradientWarps;
  FLOW_DYNAMIC_SHARED(shared);
  float* stage = reinterpret_cast<float*>(shared);
  const int radius = max_displacement / stride, count = 2 * radius + 1;
  const int blocks = (channels + kGradientChannels - 1) / kGradientChannels;
  const int n = blockIdx.z / blocks, channel = blockIdx.z % blocks * kGradientChannels;
  const int some = min(kGradientChannels, channels - channel);
  const int lane = threadIdx.x % kGradientColumns, warp = threadIdx.x / kGradientColumns;
  const int x0 = blockIdx.x * kGradientColumns, x = x0 + lane, y = blockIdx.y;
  const size_t plane = static_cast<size_t>(height) * width;
  const int pitch = kGradientColumns + 2 * max_displacement;
  const T* image = features + (static_cast<size_t>(n) * channels + channel) * plane;

  float sum[kMine] = {};
  for (int i = 0; i < count; ++i) {
    const int dy = (i - radius) * stride;
    const int other = SECOND ? y - dy : y + dy;
    if (other < 0 || other >= height) continue;
    stage_row(image + static_cast<size_t>(other) * width, some, plane, x0 - max_displacement, width,
              1, pitch, stage);
    __syncthreads();
    const T* weight = grad_out + (static_cast<size_t>(n) * count + i) * count * plane +
                      static_cast<size_t>(SECOND ? other : y) * width;
    for (int j = 0; j < count; ++j) {
      const int dx = (j - radius) * stride;
      const int from = SECOND ? x - dx : x;
      const bool inside = from >= 0 && from < width;
      const float w = inside ? to_float(weight[j * plane + from]) : 0.0f;
      const float* row =
          stage + warp * kMine * pitch + lane + max_displacement + (SECOND ? -dx : dx);
#pragma unroll
      for (int c = 0; c < kMine; ++c) {
        if (warp * kMine + c < some) sum[c] += w * row[c * pitch];
      }
    }
    __syncthreads();
  }
  const float scale = 1.0f / channels;
#pragma unroll
  for (int c = 0; c < kMine; ++c) {
    const int mine = warp * kMine + c;
    if (mine < some && x < width) {
      const size_t at = (static_cast<size_t>(n) * channels + channel + mine) * plane;
      assign(grad[at + static_cast<size_t>(y) * width + x], sum[c] * scale);
    }
  }
}

// Grid: (width, height, batch), 32 threads. As the first published kernels: a block per pixel of
// f1, its features in shared memory, one warp-wide sum per displacement. f1 and f2 are NHWC.
template <typename T>
__device__ void classic_forward(const T* f1, const T* f2, int channels, int height, int width,
                                int max_displacement, int stride, T* out) {
  FLOW_DYNAMIC_SHARED(shared);
  float* mine = reinterpret_cast<float*>(shared);
  const int count = 2 * (max_displacement / stride) + 1;
  const int x = blockIdx.x, y = blockIdx.y, n = blockIdx.z;
  const size_t pixel = (static_cast<size_t>(n) * height + y) * width + x;
  for (int c = threadIdx.x; c < channels; c += 32) mine[c] = to_float(f1[pixel * channels + c]);
  __syncthreads();
  for (int k = 0; k < count * count; ++k) {
    const int dy = k / count * stride - max_displacement;
    const int dx = k % count * stride - max_displacement;
    float sum = 0;
    if (y + dy >= 0 && y + dy < height && x + dx >= 0 && x + dx < width) {
      const T* other = f2 + (pixel + static_cast<ptrdiff_t>(dy) * width + dx) * channels;
      for (int c = threadIdx.x; c < channels; c += 32) sum += mine[c] * to_float(other[c]);
    }
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) {
      sum += __shfl_xor_sync(0xffffffffu, sum, offset);
    }
    if (threadIdx.x == 0) {
      const size_t at = (static_cast<size_t>(n) * count * count + k) * height + y;
      assign(out[at * width + x], sum / channels);
    }
  }
}

}  // namespace flow

#endif  // FLOW_KERNELS_CORRELATION_PLAIN_CUH_
