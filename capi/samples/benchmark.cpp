// First flow and latency: flow_engine_benchmark BUNDLE [HEIGHT WIDTH [BACKEND]]
//
// Prints milliseconds to open the bundle, of the first flow, and the median of the following ones.

#include <flow_engine.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

std::vector<uint8_t> noise(size_t size, unsigned seed) {
  std::mt19937 generator(seed);
  std::vector<uint8_t> pixels(size);
  for (uint8_t& value : pixels) value = static_cast<uint8_t>(generator());
  return pixels;
}

void check(FlowEngineStatus status) {
  if (status == FLOW_ENGINE_OK) return;
  std::fprintf(stderr, "%s\n", flow_engine_last_error());
  std::exit(2);
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 2 || count == 3 || count > 5) {
    std::fprintf(stderr, "usage: %s BUNDLE [HEIGHT WIDTH [BACKEND]]\n", arguments[0]);
    return 2;
  }
  constexpr int kTurns = 50;
  const int height = count > 3 ? std::atoi(arguments[2]) : 384;
  const int width = count > 3 ? std::atoi(arguments[3]) : 512;
  if (height < 1 || height > 1 << 14 || width < 1 || width > 1 << 14) {
    std::fprintf(stderr, "expected a height and a width in pixels\n");
    return 2;
  }
  const size_t pixels = static_cast<size_t>(height) * width;
  const auto pixels1 = noise(3 * pixels, 1), pixels2 = noise(3 * pixels, 2);
  std::vector<float> vectors(2 * pixels);
  FlowEngineOptions options = {};
  options.struct_size = sizeof options;
  options.backend = count > 4 ? arguments[4] : nullptr;
  const FlowEngineImage image1 = {sizeof image1,   pixels1.data(), height, width, 0,
                                  FLOW_ENGINE_RGB8};
  const FlowEngineImage image2 = {sizeof image2,   pixels2.data(), height, width, 0,
                                  FLOW_ENGINE_RGB8};
  const FlowEngineFlow flow = {sizeof flow, vectors.data(), height, width, 0};

  FlowEngine* engine = nullptr;
  auto start = Clock::now();
  check(flow_engine_open(arguments[1], &options, &engine));
  const double opened = ms_since(start);
  start = Clock::now();
  check(flow_engine_infer(engine, &image1, &image2, &flow));
  const double first = ms_since(start);
  std::vector<double> times;
  for (int turn = 0; turn < kTurns; ++turn) {
    start = Clock::now();
    check(flow_engine_infer(engine, &image1, &image2, &flow));
    times.push_back(ms_since(start));
  }
  std::nth_element(times.begin(), times.begin() + kTurns / 2, times.end());
  std::printf("open %.1f ms, first flow %.1f ms, median of %d flows %.2f ms\n", opened, first,
              kTurns, times[kTurns / 2]);
  flow_engine_close(engine);
  return 0;
}
