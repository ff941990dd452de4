// The C interface that Python loads: engine/refinement/kernel.py.

#include <cstdint>
#include <new>
#include <system_error>

#include "kernels/refinement.h"

namespace {

enum Status : int32_t { kOk = 0, kNoMemory = 1, kNoThread = 2 };

}  // namespace

extern "C" __attribute__((visibility("default"))) int32_t
flow_refine(const uint8_t* first, const uint8_t* second, const float* flow, float* refined,
            int64_t height, int64_t width, int32_t threads) {
  try {
    const flow::Refinement refinement = {
        first, second, flow, refined, static_cast<size_t>(height), static_cast<size_t>(width)};
    refinement.run(static_cast<size_t>(threads));
    return kOk;
  } catch (const std::bad_alloc&) {
    return kNoMemory;
  } catch (const std::system_error&) {
    return kNoThread;
  }
}
