#include "layout.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace flow_engine {
namespace {

void rgb_row(const uint8_t* in, int32_t format, int64_t width, uint8_t* out) {
  switch (format) {
    case FLOW_ENGINE_RGB8:
      std::memcpy(out, in, static_cast<size_t>(3 * width));
      return;
    case FLOW_ENGINE_GREY8:
      for (int64_t x = 0; x < width; ++x) out[3 * x] = out[3 * x + 1] = out[3 * x + 2] = in[x];
      return;
    case FLOW_ENGINE_BGR8:
      for (int64_t x = 0; x < width; ++x) {
        out[3 * x] = in[3 * x + 2], out[3 * x + 1] = in[3 * x + 1], out[3 * x + 2] = in[3 * x];
      }
      return;
    case FLOW_ENGINE_RGBA8:
      for (int64_t x = 0; x < width; ++x) std::copy_n(in + 4 * x, 3, out + 3 * x);
      return;
    default:  // FLOW_ENGINE_BGRA8
      for (int64_t x = 0; x < width; ++x) {
        out[3 * x] = in[4 * x + 2], out[3 * x + 1] = in[4 * x + 1], out[3 * x + 2] = in[4 * x];
      }
  }
}

}  // namespace

int64_t padded(int64_t side, int64_t divisor, int64_t smallest) {
  return (std::max(side, smallest) + divisor - 1) / divisor * divisor;
}

int channels_of(int32_t format) {
  switch (format) {
    case FLOW_ENGINE_RGB8:
    case FLOW_ENGINE_BGR8:
      return 3;
    case FLOW_ENGINE_GREY8:
      return 1;
    case FLOW_ENGINE_RGBA8:
    case FLOW_ENGINE_BGRA8:
      return 4;
    default:
      return 0;
  }
}

void lay_out(const FlowEngineImage& image, int64_t height, int64_t width, uint8_t* out) {
  const int64_t row = 3 * width;
  const int64_t stride =
      image.row_stride != 0 ? image.row_stride : channels_of(image.format) * int64_t{image.width};
  for (int64_t y = 0; y < image.height; ++y) {
    uint8_t* const line = out + y * row;
    rgb_row(image.data + y * stride, image.format, image.width, line);
    for (int64_t x = image.width; x < width; ++x) std::copy_n(line + 3 * (x - 1), 3, line + 3 * x);
  }
  const uint8_t* const last = out + (image.height - 1) * row;
  for (int64_t y = image.height; y < height; ++y) std::copy_n(last, row, out + y * row);
}

int64_t crop(const float* flow, int64_t width, const FlowEngineFlow& out) {
  constexpr float kLargest = std::numeric_limits<float>::max();
  const int64_t stride =
      out.row_stride != 0 ? out.row_stride / int64_t{sizeof(float)} : 2 * int64_t{out.width};
  int64_t bad = 0;
  for (int64_t y = 0; y < out.height; ++y) {
    const float* const from = flow + 2 * y * width;
    float* const to = out.data + y * stride;
    bool finite = true;
    for (int64_t i = 0; i < 2 * int64_t{out.width}; ++i) {
      to[i] = from[i];
      finite &= std::abs(from[i]) <= kLargest;
    }
    for (int64_t x = 0; !finite && x < out.width; ++x) {
      bad += !(std::isfinite(from[2 * x]) && std::isfinite(from[2 * x + 1]));
    }
  }
  return bad;
}

}  // namespace flow_engine
