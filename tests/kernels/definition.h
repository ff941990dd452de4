// The correlation's definition in C++, for the tests without Python.

#ifndef FLOW_TESTS_KERNELS_DEFINITION_H_
#define FLOW_TESTS_KERNELS_DEFINITION_H_

#include <cstddef>
#include <vector>

#include "kernels/correlation.h"

inline std::vector<float> random_array(size_t size, unsigned seed) {
  std::vector<float> values(size);
  for (float& value : values) {
    seed = seed * 1664525u + 1013904223u;
    value = static_cast<float>(seed >> 8) / (1u << 23) - 1.0f;
  }
  return values;
}

// Calls visit(output index, index into f1, index into f2) for every product of the definition.
template <typename Visit>
void products(const FlowCorrelation& a, Visit visit) {
  const int radius = a.max_displacement / a.stride_2, count = 2 * radius + 1;
  const auto at = [&a](int n, int planes, int plane, int y, int x) {
    return ((static_cast<size_t>(n) * planes + plane) * a.height + y) * a.width + x;
  };
  for (int n = 0; n < a.batch; ++n) {
    for (int k = 0; k < count * count; ++k) {
      const int dy = (k / count - radius) * a.stride_2, dx = (k % count - radius) * a.stride_2;
      for (int y = 0; y < a.height; ++y) {
        for (int x = 0; x < a.width; ++x) {
          if (y + dy < 0 || y + dy >= a.height || x + dx < 0 || x + dx >= a.width) continue;
          for (int c = 0; c < a.channels; ++c) {
            visit(at(n, count * count, k, y, x), at(n, a.channels, c, y, x),
                  at(n, a.channels, c, y + dy, x + dx));
          }
        }
      }
    }
  }
}

#endif  // FLOW_TESTS_KERNELS_DEFINITION_H_
