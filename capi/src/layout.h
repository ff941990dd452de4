// Images as a network takes them, and its flow as the caller does: engine/images/layout.py.

#ifndef FLOW_ENGINE_LAYOUT_H_
#define FLOW_ENGINE_LAYOUT_H_

#include <cstdint>

#include "flow_engine.h"

namespace flow_engine {

// Of a padded batch of images (batch, height, width, 3), or of its flow (batch, height, width, 2).
struct Shape {
  int64_t batch, height, width;
};

// A size rounded up to a multiple of `divisor`, at least `smallest`.
int64_t padded(int64_t side, int64_t divisor, int64_t smallest);

int channels_of(int32_t format);  // 0: no FlowEngineFormat

// Writes an image as RGB, `width` x `height`; rows are added at the bottom and columns on the
// right, copies of the last ones.
void lay_out(const FlowEngineImage& image, int64_t height, int64_t width, uint8_t* out);

// Copies the top left of a flow with rows of `width` pixels to the caller's memory. Returns how
// many of its pixels are not finite.
int64_t crop(const float* flow, int64_t width, const FlowEngineFlow& out);

}  // namespace flow_engine

#endif  // FLOW_ENGINE_LAYOUT_H_
