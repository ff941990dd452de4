// Loops over numbers, written once and compiled for several instruction sets; the best one that the
// CPU has is chosen when the library is loaded.

#ifndef FLOW_KERNELS_LANES_H_
#define FLOW_KERNELS_LANES_H_

#include <cstddef>

#ifndef FLOW_CLONES  // else a test has chosen one
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__clang__)
#define FLOW_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define FLOW_CLONES
#endif
#endif
// A function that returns Lanes must not be called: another instruction set returns them elsewhere.
#define FLOW_ALWAYS_INLINE __attribute__((always_inline))
#define FLOW_INLINE inline FLOW_ALWAYS_INLINE

// Before a loop none of whose steps reads what another one writes.
#if defined(__clang__)
#define FLOW_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define FLOW_INDEPENDENT _Pragma("GCC ivdep")
#else
#define FLOW_INDEPENDENT
#endif

namespace flow {

// Numbers that are computed at once. The compiler splits them where registers are shorter.
constexpr size_t kLanes = 8;
typedef float Lanes __attribute__((vector_size(kLanes * sizeof(float)), aligned(4), may_alias));

FLOW_INLINE const Lanes& lanes(const float* numbers) {
  return *reinterpret_cast<const Lanes*>(numbers);
}

FLOW_INLINE Lanes& lanes(float* numbers) { return *reinterpret_cast<Lanes*>(numbers); }

}  // namespace flow

#endif  // FLOW_KERNELS_LANES_H_
