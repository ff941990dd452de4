// The forward pass as a banded matrix product on tensor cores (sm_80 and newer, fp16 and bf16).
//
// All displacements along a row join pixels of equal residue modulo the stride. So for 16 pixels of
// one residue in a row of f1 and one row of f2, the products are
//     P[16 x n] = F1[16 x C] F2[C x n],  n = 16 + 2 radius columns of the same residue,
// of which the band P[m][m + j], j = 0 .. 2 radius, is kept. At FlowNetC's radius 10 that is
// 16 * 21 of 16 * 40 products: tensor cores compute them all in less time than the loads take.
//
// A block of 8 warps owns 64 columns of two rows of f1 that lie one stride apart; they share every
// row of f2. Warps 0-3 take the first row, 4-7 the second, each warp 16 pixels, whose features stay
// in its registers as matrix fragments. Rows of f2 pass through shared memory in chunks of
// channels, split by residue on the way in, the next chunk being fetched while one is multiplied.

#ifndef FLOW_KERNELS_CORRELATION_TENSOR_CORES_CUH_
#define FLOW_KERNELS_CORRELATION_TENSOR_CORES_CUH_

#include "kernels/correlation_device.cuh"

namespace flow {

constexpr int kTensorThreads = 256;
constexpr int kTensorColumns = 64;        // columns of f1 a block
constexpr int kTensorMostChannels = 256;  // held in registers: 64 of them a thread
constexpr int kChunk = 32;                // channels of f2 in shared memory at a time
constexpr int kChunkSteps = kChunk / 16;

// Radius rounded up so that the staged columns of f2 start on a multiple of 8.
__host__ __device__ constexpr int tensor_halo(int radius, int stride) {
  return stride == 2 ? (radius + 3) / 4 * 4 : (radius + 7) / 8 * 8;
}

// 8-column tiles that the band of 16 pixels touches.
__host__ __device__ constexpr int tensor_tiles(int radius, int stride) {
  return (16 + radius + tensor_halo(radius, stride) + 7) / 8;
}

template <typename T, int STRIDE, int TILES>
struct Band {
  static constexpr int kUnits = 4 / STRIDE;  // groups of 16 pixels of one residue
  static constexpr int kPerResidue = 16 * (kUnits - 1) + 8 * TILES;
  static constexpr int kSegments = STRIDE * kPerResidue / 8;
  static constexpr int kPitch = STRIDE * kPerResidue + 8;  // odd multiple of 16 bytes: no conflicts
  static constexpr int kLoads = kChunk / (kTensorThreads / 16);
  static_assert(kSegments <= 16, "a row is fetched by 16 threads");
  static constexpr int kMostCount = 8 * TILES - 15;
  static constexpr int kOutPitch = kTensorColumns + 8;

  struct Shared {
    alignas(16) T stage[2][kChunk * kPitch];
    alignas(16) T out[2][kMostCount * kOutPitch];
  };

  struct Feature {  // one image of f1 or f2
    const T* image;
    int channels, height, width;
    bool aligned;
  };

  // Channels chunk * kChunk ... of a row, from column `start`; zero outside. Sixteen threads take a
  // row of a channel, eight columns each; those beyond the last segment do nothing.
  __device__ static void fetch(const Feature& f, int chunk, int y, int start, Eight (&to)[kLoads]) {
    const int channel = chunk * kChunk + threadIdx.x / 16, x = start + threadIdx.x % 16 * 8;
    const T* row = f.image + (static_cast<size_t>(channel) * f.height + y) * f.width;
    const size_t step = static_cast<size_t>(16) * f.height * f.width;
    const bool inside = threadIdx.x % 16 < kSegments && y < f.height;
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      to[i] = Eight{};
      if (inside && channel + 16 * i < f.channels) {
        to[i] = load_eight(row + i * step, x, f.width, f.aligned);
      }
    }
  }

  // Into shared memory as [channel][residue][column].
  __device__ static void put(T* stage, const Eight (&from)[kLoads]) {
    const int segment = threadIdx.x % 16;
    if (segment >= kSegments) return;
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      T* row = stage + (threadIdx.x / 16 + 16 * i) * kPitch;
      const uint32_t (&p)[4] = from[i].pairs;
      if (STRIDE == 1) {
        *reinterpret_cast<uint4*>(row + 8 * segment) = from[i].vector;
      } else {
        const uint2 even = {__byte_perm(p[0], p[1], 0x5410), __byte_perm(p[2], p[3], 0x5410)};
        const uint2 odd = {__byte_perm(p[0], p[1], 0x7632), __byte_perm(p[2], p[3], 0x7632)};
        *reinterpret_cast<uint2*>(row + 4 * segment) = even;
        *reinterpret_cast<uint2*>(row + kPerResidue + 4 * segment) = odd;
      }
    }
  }

  // 16 channels: sum += f1 * f2, tile by tile. `stage` is at the warp's first column of f2.
  __device__ static void multiply(const T* stage, const uint32_t (&a)[4], float (&sum)[TILES][4]) {
    const int lane = threadIdx.x % 32;
    const T* row = stage + lane % 16 * kPitch;
#pragma unroll
    for (int tile = 0; tile + 1 < TILES; tile += 2) {
      uint32_t b[4];
      load_matrices_x4(b, row + 8 * tile + lane / 16 * 8);
      multiply_add(sum[tile], a, b[0], b[1], T());
      multiply_add(sum[tile + 1], a, b[2], b[3], T());
    }
    if (TILES % 2) {
      uint32_t b[2];
      load_matrices_x2(b, row + 8 * (TILES - 1));
      multiply_add(sum[TILES - 1], a, b[0], b[1], T());
    }
  }

  // The band of one warp's products into shared memory as [displacement][column].
  __device__ static void keep_band(const float (&sum)[TILES][4], int count, int margin, int column,
                                   float scale, T* out) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int tile = 0; tile < TILES; ++tile) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int m = lane / 4 + i / 2 * 8;
        const int j = 8 * tile + lane % 4 * 2 + i % 2 - m - margin;
        if (j >= 0 && j < count) {
          assign(out[j * kOutPitch + column + STRIDE * m], sum[tile][i] * scale);
        }
      }
    }
  }

  // `count` displacements of one row from shared memory (zeros without it), by 128 threads.
  __device__ static void write_row(const T* from, int count, size_t plane, int x, int width,
                                   bool aligned, T* to) {
    for (int index = threadIdx.x % 128; index < count * 8; index += 128) {
      const int j = index / 8, segment = index % 8;
      Eight eight = {};
      if (from != nullptr) {
        eight.vector = *reinterpret_cast<const uint4*>(from + j * kOutPitch + 8 * segment);
      }
      store_eight(to + j * plane, x + 8 * segment, width, aligned, eight);
    }
  }
};

// Grid: (columns / 64, row pairs * splits, batch), 256 threads. A block takes `steps` of the
// count + 1 rows of f2 that a pair of rows of f1 reaches.
template <typename T, int STRIDE, int TILES>
__device__ void banded_product(const T* f1, const T* f2, int channels, int height, int width,
                               int max_displacement, int steps, T* out) {
  using B = Band<T, STRIDE, TILES>;
  __shared__ typename B::Shared shared;
  const int radius = max_displacement / STRIDE, count = 2 * radius + 1;
  const int halo = tensor_halo(radius, STRIDE);
  const int splits = (count + steps) / steps;  // (count + 1) / steps, rounded up
  const int pair = blockIdx.y / splits, first = blockIdx.y % splits * steps;
  const int last = min(first + steps, count + 1);
  const int base = pair / STRIDE * 2 * STRIDE + pair % STRIDE;
  if (base >= height) return;

  const size_t plane = static_cast<size_t>(height) * width;
  const bool aligned =
      width % 8 == 0 && (reinterpret_cast<uintptr_t>(f1) | reinterpret_cast<uintptr_t>(f2) |
                         reinterpret_cast<uintptr_t>(out)) %
                                16 ==
                            0;
  const typename B::Feature image1 = {f1 + blockIdx.z * plane * channels, channels, height, width,
                                      aligned};
  const typename B::Feature image2 = {f2 + blockIdx.z * plane * channels, channels, height, width,
                                      aligned};
  out += blockIdx.z * plane * count * count;

  const int x0 = blockIdx.x * kTensorColumns;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int member = warp / 4, residue = warp % 4 / B::kUnits, unit = warp % B::kUnits;
  const int column = residue * B::kPerResidue + unit * 16;  // in a row of `stage`
  const int y = base + member * STRIDE;
  const int chunks = (channels + kChunk - 1) / kChunk;
  constexpr int kMostChunks = kTensorMostChannels / kChunk;

  // The features of f1, both rows of the pair at once, two chunks ahead: with nothing to compute
  // meanwhile, the latency of these loads is all there is.
  Eight early[2][2][B::kLoads];
#pragma unroll
  for (int chunk = 0; chunk < 2; ++chunk) {
    B::fetch(image1, chunk, base, x0, early[chunk][0]);
    B::fetch(image1, chunk, base + STRIDE, x0, early[chunk][1]);
  }
  uint32_t a[kMostChunks][kChunkSteps][4];
#pragma unroll
  for (int chunk = 0; chunk < kMostChunks; ++chunk) {
    if (chunk < chunks) {
      B::put(shared.stage[0], early[chunk % 2][0]);
      B::put(shared.stage[1], early[chunk % 2][1]);
      B::fetch(image1, chunk + 2, base, x0, early[chunk % 2][0]);
      B::fetch(image1, chunk + 2, base + STRIDE, x0, early[chunk % 2][1]);
      __syncthreads();
#pragma unroll
      for (int step = 0; step < kChunkSteps; ++step) {
        const int channel = 16 * step + lane % 8 + lane / 16 * 8;
        load_matrices_x4(a[chunk][step],
                         shared.stage[member] + channel * B::kPitch + column + lane / 8 % 2 * 8);
      }
      __syncthreads();
    }
  }

  // Rows of f2 inside the image: base + (step - radius) * STRIDE for begin <= step < end.
  const int begin = max(first, radius - base / STRIDE);
  const int end = min(last, radius + (height - 1 - base) / STRIDE + 1);
  const int start = x0 - halo * STRIDE;
  for (int step = first; step < last; ++step) {
    const int i = step - member;
    if ((step < begin || step >= end) && i >= 0 && i < count && y < height) {
      B::write_row(nullptr, count, plane, x0, width, aligned,
                   out + static_cast<size_t>(i) * count * plane + static_cast<size_t>(y) * width);
    }
  }
  if (begin >= end) return;

  int buffer = 0;
  Eight ahead[B::kLoads];
  B::fetch(image2, 0, base + (begin - radius) * STRIDE, start, ahead);
  B::put(shared.stage[0], ahead);
  __syncthreads();
  for (int step = begin; step < end; ++step) {
    const int other = base + (step - radius) * STRIDE, i = step - member;
    float sum[TILES][4] = {};
#pragma unroll
    for (int chunk = 0; chunk < kMostChunks; ++chunk) {
      if (chunk < chunks) {
        const bool row_done = chunk + 1 == chunks;
        const bool more = !row_done || step + 1 < end;
        if (more) {
          B::fetch(image2, row_done ? 0 : chunk + 1, row_done ? other + STRIDE : other, start,
                   ahead);
        }
#pragma unroll
        for (int k = 0; k < kChunkSteps; ++k) {
          B::multiply(shared.stage[buffer] + 16 * k * B::kPitch + column, a[chunk][k], sum);
        }
        buffer ^= 1;
        if (more) B::put(shared.stage[buffer], ahead);
        if (row_done) {
          B::keep_band(sum, count, halo - radius, residue + unit * 16 * STRIDE, 1.0f / channels,
                       shared.out[member]);
        }
        __syncthreads();
      }
    }
    if (i >= 0 && i < count && y < height) {
      B::write_row(shared.out[member], count, plane, x0, width, aligned,
                   out + static_cast<size_t>(i) * count * plane + static_cast<size_t>(y) * width);
    }
    // With more chunks, one of their barriers lies between these reads and the next band.
    if (chunks == 1) __syncthreads();
  }
}

}  // namespace flow

#endif  // FLOW_KERNELS_CORRELATION_TENSOR_CORES_CUH_
