// Small device functions: types, guarded vector loads, and the two warp instructions of the tensor
// cores. With FLOW_EMULATED the same kernels compile for the CPU (tests/kernels/emulated_cuda.h).

#ifndef FLOW_KERNELS_CORRELATION_DEVICE_CUH_
#define FLOW_KERNELS_CORRELATION_DEVICE_CUH_

#ifndef FLOW_EMULATED
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#define FLOW_DYNAMIC_SHARED(name) extern __shared__ float4 name[]
#endif

#include <cstddef>
#include <cstdint>

namespace flow {

__device__ inline float to_float(float value) { return value; }
__device__ inline float to_float(__half value) { return __half2float(value); }
__device__ inline float to_float(__nv_bfloat16 value) { return __bfloat162float(value); }

__device__ inline void assign(float& to, float value) { to = value; }
__device__ inline void assign(__half& to, float value) { to = __float2half_rn(value); }
__device__ inline void assign(__nv_bfloat16& to, float value) { to = __float2bfloat16_rn(value); }

union Eight {  // eight 16-bit numbers, bit by bit
  uint4 vector;
  uint32_t pairs[4];
  uint16_t items[8];
};

// row[x .. x + 7], zero outside 0 .. width - 1. `aligned`: width and x are multiples of 8 and the
// array starts on 16 bytes.
template <typename T>
__device__ inline Eight load_eight(const T* row, int x, int width, bool aligned) {
  static_assert(sizeof(T) == 2, "16-bit types");
  Eight eight = {};
  if (x <= -8 || x >= width) return eight;
  if (aligned) {
    eight.vector = *reinterpret_cast<const uint4*>(row + x);
    return eight;
  }
  const uint16_t* items = reinterpret_cast<const uint16_t*>(row);
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    if (x + i >= 0 && x + i < width) eight.items[i] = items[x + i];
  }
  return eight;
}

template <typename T>
__device__ inline void store_eight(T* row, int x, int width, bool aligned, const Eight& eight) {
  if (aligned) {
    if (x < width) *reinterpret_cast<uint4*>(row + x) = eight.vector;
    return;
  }
  uint16_t* items = reinterpret_cast<uint16_t*>(row);
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    if (x + i < width) items[x + i] = eight.items[i];
  }
}

#ifndef FLOW_EMULATED
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800

// Four (two) 8x8 matrices of 16-bit numbers, transposed. Lane l gives the address of row l % 8 of
// matrix l / 8 and receives, of each matrix, rows 2 (l % 4) and 2 (l % 4) + 1 of column l / 4.
template <typename T>
__device__ inline void load_matrices_x4(uint32_t (&to)[4], const T* row) {
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(address)
               : "memory");
}

template <typename T>
__device__ inline void load_matrices_x2(uint32_t (&to)[2], const T* row) {
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
               : "=r"(to[0]), "=r"(to[1])
               : "r"(address)
               : "memory");
}

// sum (16 x 8, fp32) += a (16 x 16) * b (16 x 8). With g = lane / 4 and t = lane % 4, a lane holds
// sum[g][2t, 2t + 1], sum[g + 8][...]; a[g][2t..], a[g + 8][2t..], a[g][2t + 8..],
// a[g + 8][2t + 8..]; b[2t..][g], b[2t + 8..][g]  (PTX ISA, "Matrix Fragments for mma.m16n8k16").
__device__ inline void multiply_add(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0,
                                    uint32_t b1, __half) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ inline void multiply_add(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0,
                                    uint32_t b1, __nv_bfloat16) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

#endif  // __CUDA_ARCH__ >= 800
#endif  // FLOW_EMULATED

}  // namespace flow

#endif  // FLOW_KERNELS_CORRELATION_DEVICE_CUH_
