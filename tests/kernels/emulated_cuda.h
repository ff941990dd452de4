// Runs CUDA kernels on the CPU, thread by thread, as far as kernels/*.cuh need it: so the index
// arithmetic, the fragment layouts and the barriers of a kernel are tested without a GPU.
//
// Every thread of a block is a fiber that runs until it reaches a barrier or a warp instruction.
// A warp runs ahead as far as the barriers let it, first or last warp first: so a missing barrier
// shows as a wrong result.
// ldmatrix and mma follow the fragment tables of the PTX ISA, written here a second time and
// independently of the kernels. Dynamic shared memory starts as NaN, static keeps what a block
// left.

#ifndef FLOW_TESTS_KERNELS_EMULATED_CUDA_H_
#define FLOW_TESTS_KERNELS_EMULATED_CUDA_H_

#define FLOW_EMULATED
#define __device__
#define __host__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

using std::max;
using std::min;

struct alignas(16) uint4 {
  uint32_t x, y, z, w;
};
struct alignas(8) uint2 {
  uint32_t x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};

// 16-bit numbers as bits; conversions round to nearest even.
struct __half {
  uint16_t bits = 0;
};
struct __nv_bfloat16 {
  uint16_t bits = 0;
};

inline float __half2float(__half value) {
  const int exponent = value.bits >> 10 & 31, mantissa = value.bits & 1023;
  const float sign = value.bits >> 15 ? -1.0f : 1.0f;
  if (exponent == 31) return mantissa ? NAN : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -24);
  return sign * std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
}

inline __half __float2half_rn(float value) {
  if (std::isnan(value)) return {0x7e00};
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const float size = std::fabs(value);
  if (size == 0.0f) return {sign};
  if (size >= 65520.0f) return {static_cast<uint16_t>(sign | 0x7c00)};
  int exponent = 0;
  std::frexp(size, &exponent);
  const int unit = std::max(exponent - 11, -24);  // the last bit's weight is 2 ** unit
  const int digits = static_cast<int>(std::nearbyint(std::ldexp(size, -unit)));
  // Normal numbers have 1024 <= digits <= 2048; the carry into the exponent then comes by itself.
  return {static_cast<uint16_t>(sign | (digits + (unit + 24) * 1024))};
}

inline float __bfloat162float(__nv_bfloat16 value) {
  const uint32_t bits = uint32_t{value.bits} << 16;
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

inline __nv_bfloat16 __float2bfloat16_rn(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if (std::isnan(value)) return {0x7fc0};
  return {static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

inline uint32_t __byte_perm(uint32_t a, uint32_t b, uint32_t selector) {
  const uint64_t bytes = uint64_t{b} << 32 | a;
  uint32_t result = 0;
  for (int i = 0; i < 4; ++i) {
    result |= static_cast<uint32_t>(bytes >> 8 * (selector >> 4 * i & 7) & 255) << 8 * i;
  }
  return result;
}

namespace emulated {

struct Index {
  int x, y, z;
};

enum class State { kRunning, kAtWarp, kAtBlock, kDone };

struct Thread {
  ucontext_t context;
  std::vector<char> stack;
  State state = State::kRunning;
  int collectives = 0;
};

struct Slot {  // what a lane hands to its warp
  const void* address;
  uint32_t words[6];
  float sums[4];
};

struct Block {
  std::vector<Thread> threads;
  std::vector<Slot> slots[2];
  ucontext_t scheduler;
  std::function<void()> body;
  int current = 0;
};

inline Block* block = nullptr;
inline Index block_index, thread_index, block_size;
alignas(16) inline float4 dynamic_shared[48 * 1024 / sizeof(float4)];

inline void pause(State state) {
  Thread& thread = block->threads[block->current];
  thread.state = state;
  swapcontext(&thread.context, &block->scheduler);
}

// Hands `mine` to the warp and waits for the others. Slots alternate, so that a fast lane's next
// instruction does not overwrite what a slow one has yet to read.
inline const Slot* exchange(const Slot& mine) {
  Thread& thread = block->threads[block->current];
  std::vector<Slot>& slots = block->slots[thread.collectives++ % 2];
  slots[block->current] = mine;
  const int warp = block->current / 32;
  pause(State::kAtWarp);
  return &slots[warp * 32];
}

inline void enter() {
  block->body();
  block->threads[block->current].state = State::kDone;
  swapcontext(&block->threads[block->current].context, &block->scheduler);
}

inline bool all(int begin, int end, State state) {
  return std::all_of(block->threads.begin() + begin, block->threads.begin() + end,
                     [state](const Thread& t) { return t.state == state; });
}

inline bool may_run(int thread, int count) {
  switch (block->threads[thread].state) {
    case State::kRunning:
      return true;
    case State::kAtWarp: {
      const int begin = thread / 32 * 32;
      // Lanes that already went on are running or further; the rest must have arrived.
      for (int i = begin; i < std::min(begin + 32, count); ++i) {
        const Thread& other = block->threads[i];
        if (other.collectives < block->threads[thread].collectives) return false;
      }
      return true;
    }
    default:
      return false;
  }
}

inline void prepare(Thread& thread) {
  getcontext(&thread.context);
  thread.stack.resize(64 * 1024);
  thread.context.uc_stack.ss_sp = thread.stack.data();
  thread.context.uc_stack.ss_size = thread.stack.size();
  thread.state = State::kRunning;
  thread.collectives = 0;
  makecontext(&thread.context, enter, 0);
}

inline void run(int thread) {
  block->current = thread;
  thread_index = {thread, 0, 0};
  block->threads[thread].state = State::kRunning;
  swapcontext(&block->scheduler, &block->threads[thread].context);
}

// Runs one warp until all its threads wait for other warps or are done.
inline bool run_warp(int begin, int end, bool backward) {
  bool ever = false;
  for (bool progress = true; progress;) {
    progress = false;
    for (int k = begin; k < end; ++k) {
      const int i = backward ? begin + end - 1 - k : k;
      if (!may_run(i, end)) continue;
      run(i);
      progress = ever = true;
    }
  }
  return ever;
}

inline void run_block(int count, bool backward) {
  for (Thread& thread : block->threads) prepare(thread);
  const int warps = (count + 31) / 32;
  while (!all(0, count, State::kDone)) {
    bool progress = false;
    for (int k = 0; k < warps; ++k) {
      const int warp = backward ? warps - 1 - k : k;
      progress |= run_warp(warp * 32, std::min(warp * 32 + 32, count), backward);
    }
    if (all(0, count, State::kAtBlock)) {
      for (Thread& thread : block->threads) thread.state = State::kRunning;
    } else if (!progress) {
      std::printf("emulated kernel: threads wait at different barriers\n");
      std::abort();
    }
  }
}

// Launches a one-dimensional block over a grid; `kernel` is a function of no arguments.
inline void launch(dim3 grid, int threads, bool backward, const std::function<void()>& kernel) {
  Block here;
  here.threads.resize(threads);
  for (auto& slots : here.slots) slots.resize(threads);
  here.body = kernel;
  block = &here;
  block_size = {threads, 1, 1};
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; ++x) {
        std::memset(dynamic_shared, 0xff, sizeof dynamic_shared);
        block_index = {static_cast<int>(x), static_cast<int>(y), static_cast<int>(z)};
        run_block(threads, backward);
      }
    }
  }
  block = nullptr;
}

}  // namespace emulated

#define threadIdx emulated::thread_index
#define blockIdx emulated::block_index
#define blockDim emulated::block_size
#define FLOW_DYNAMIC_SHARED(name) float4* name = emulated::dynamic_shared

inline void __syncthreads() { emulated::pause(emulated::State::kAtBlock); }

inline float __shfl_xor_sync(unsigned, float value, int mask) {
  const int lane = threadIdx.x % 32;
  return emulated::exchange({nullptr, {}, {value}})[lane ^ mask].sums[0];
}

namespace flow {

// Rows 2t and 2t + 1 of column g of a transposed 8x8 matrix: lane = 4 g + t.
inline uint32_t transposed(const emulated::Slot* slots, int matrix, int lane) {
  const int g = lane / 4, t = lane % 4;
  const auto at = [&](int row) {
    return static_cast<const uint16_t*>(slots[8 * matrix + row].address)[g];
  };
  return at(2 * t) | static_cast<uint32_t>(at(2 * t + 1)) << 16;
}

template <int COUNT, typename T>
void load_matrices(uint32_t (&to)[COUNT], const T* row) {
  const int lane = threadIdx.x % 32;
  if (reinterpret_cast<uintptr_t>(row) % 16 != 0) {
    std::printf("emulated ldmatrix: a row does not start on 16 bytes\n");
    std::abort();
  }
  const emulated::Slot* slots = emulated::exchange({row, {}, {}});
  for (int matrix = 0; matrix < COUNT; ++matrix) to[matrix] = transposed(slots, matrix, lane);
}

template <typename T>
void load_matrices_x4(uint32_t (&to)[4], const T* row) {
  load_matrices<4>(to, row);
}

template <typename T>
void load_matrices_x2(uint32_t (&to)[2], const T* row) {
  load_matrices<2>(to, row);
}

inline float number(uint32_t word, int half, __half) {
  return __half2float({static_cast<uint16_t>(word >> 16 * half)});
}
inline float number(uint32_t word, int half, __nv_bfloat16) {
  return __bfloat162float({static_cast<uint16_t>(word >> 16 * half)});
}

template <typename T>
void multiply_add(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, T type) {
  const int lane = threadIdx.x % 32;
  const emulated::Slot* slots = emulated::exchange({nullptr, {a[0], a[1], a[2], a[3], b0, b1}, {}});
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
    for (int k = 0; k < 16; ++k) {
      // A: register 2 * (k >= 8) + (row >= 8) of lane 4 * (row % 8) + k % 8 / 2; B alike.
      const uint32_t first = slots[row % 8 * 4 + k % 8 / 2].words[k / 8 * 2 + row / 8];
      const uint32_t second = slots[column * 4 + k % 8 / 2].words[4 + k / 8];
      sum[i] += number(first, k % 2, type) * number(second, k % 2, type);
    }
  }
}

}  // namespace flow

#endif  // FLOW_TESTS_KERNELS_EMULATED_CUDA_H_
