// The TensorRT backend with a double of TensorRT and CUDA: program FOLDER, which has the bundles
// that test_tensorrt.py writes.

#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "double.h"
#include "flow_engine.h"

namespace {

bool all_ok = true;
std::string folder;

void expect(bool ok, const std::string& what) {
  if (!ok) std::printf("FAILED: %s (%s)\n", what.c_str(), flow_engine_last_error());
  all_ok &= ok;
}

void expect_text(const std::string& found, const std::string& text) {
  expect(found.find(text) != std::string::npos, "'" + found + "' contains '" + text + "'");
}

// Nothing is left on the GPU, and the interfaces were used as they are meant to be.
void expect_clean(const std::string& after) {
  expect(the_double.alive == 0, std::to_string(the_double.alive) + " left after " + after);
  for (const std::string& mistake : the_double.mistakes) expect(false, mistake + ", " + after);
  int device = -1;
  the_double.fail_at = 0;
  cudaGetDevice(&device);
  expect(device == 0, "the thread's own GPU is current again after " + after);
  expect(cudaPeekAtLastError() == cudaSuccess, "CUDA's last error is taken after " + after);
}

// A pair of BGR images and their flow.
struct Pair {
  Pair(int height, int width, unsigned seed)
      : height(height), width(width), flow(size() * 2, -1.f) {
    for (auto& image : images) {
      image.resize(size() * 3);
      for (uint8_t& value : image) {
        seed = seed * 1664525u + 1013904223u;
        value = static_cast<uint8_t>(seed >> 24);
      }
    }
  }
  size_t size() const { return static_cast<size_t>(height) * static_cast<size_t>(width); }
  FlowEngineImage image(int i) const {
    return {sizeof(FlowEngineImage), images[i].data(), height, width, 0, FLOW_ENGINE_BGR8};
  }
  FlowEngineFlow out() { return {sizeof(FlowEngineFlow), flow.data(), height, width, 0}; }
  bool has_its_flow() const {
    for (size_t i = 0; i < size(); ++i) {
      const uint8_t* const p = &images[0][3 * i];
      const uint8_t* const q = &images[1][3 * i];
      const uint8_t first[] = {p[2], p[1], p[0]}, second[] = {q[2], q[1], q[0]};
      if (flow[2 * i] != flow_x(first, second) || flow[2 * i + 1] != flow_y(first, second)) {
        return false;
      }
    }
    return true;
  }

  int height, width;
  std::vector<uint8_t> images[2];
  std::vector<float> flow;
};

FlowEngineStatus infer(FlowEngine* engine, Pair& pair) {
  const FlowEngineImage first = pair.image(0), second = pair.image(1);
  const FlowEngineFlow flow = pair.out();
  return flow_engine_infer(engine, &first, &second, &flow);
}

FlowEngine* open(const std::string& bundle, FlowEngineOptions options = {}) {
  options.struct_size = sizeof options;
  FlowEngine* engine = nullptr;
  flow_engine_open((folder + "/" + bundle).c_str(), &options, &engine);
  return engine;
}

void check_info(FlowEngine* engine) {
  FlowEngineInfo info = {};
  info.struct_size = sizeof info;
  expect(flow_engine_info(engine, &info) == FLOW_ENGINE_OK, "info");
  expect(!std::strcmp(info.backend, "tensorrt") && !std::strcmp(info.device, "cuda:0") &&
             !std::strcmp(info.arithmetic, "fp16"),
         "backend, device and arithmetic");
  expect(info.runtime_version == std::to_string(NV_TENSORRT_MAJOR) + ".2.3.4", "version");
}

void check_flows() {
  the_double = {};
  FlowEngine* const engine = open("plan");
  expect(engine != nullptr, "opens");
  check_info(engine);
  for (const auto& [height, width] : {std::pair{60, 80}, {64, 64}, {192, 256}, {1, 1}, {60, 80}}) {
    Pair pair(height, width, 7);
    expect(infer(engine, pair) == FLOW_ENGINE_OK && pair.has_its_flow(),
           "flow of " + std::to_string(height) + "x" + std::to_string(width));
  }
  Pair pairs[] = {{60, 80, 1}, {60, 80, 2}, {60, 80, 3}};
  std::vector<FlowEngineImage> first, second;
  std::vector<FlowEngineFlow> flows;
  for (Pair& pair : pairs) {
    first.push_back(pair.image(0));
    second.push_back(pair.image(1));
    flows.push_back(pair.out());
  }
  expect(flow_engine_infer_batch(engine, 3, first.data(), second.data(), flows.data()) ==
                 FLOW_ENGINE_OK &&
             std::all_of(pairs, pairs + 3, [](const Pair& pair) { return pair.has_its_flow(); }),
         "flows of a batch");
  expect(the_double.contexts == 1, "one execution context for one caller");
  flow_engine_close(engine);
  expect_clean("flows");
}

void check_profile() {
  the_double = {};
  FlowEngine* const engine = open("plan");
  Pair large(193, 90, 1);
  expect(infer(engine, large) == FLOW_ENGINE_INPUT_ERROR, "a size above the profile");
  expect_text(flow_engine_last_error(),
              "tiny: image is 193x90 (padded 256x128); the plan's profile allows at most 192x256. "
              "Rebuild with --max-size 256x256.");
  Pair pair(64, 64, 1);
  const std::vector<FlowEngineImage> first(5, pair.image(0)), second(5, pair.image(1));
  const std::vector<FlowEngineFlow> flows(5, pair.out());
  expect(flow_engine_infer_batch(engine, 5, first.data(), second.data(), flows.data()) ==
             FLOW_ENGINE_INPUT_ERROR,
         "a batch above the profile");
  expect_text(flow_engine_last_error(),
              "tiny: the batch has 5 pairs; the plan's profile allows 1 to 4. Split the batch");
  flow_engine_close(engine);
  expect_clean("refused sizes");
}

// Each call fails once, while the bundle is opened or while flows are computed.
void check_failures() {
  int failed_to_open = 0, failed_to_run = 0;
  for (int call = 1;; ++call) {
    the_double = {};
    the_double.fail_at = call;
    FlowEngineOptions second_gpu = {};
    second_gpu.device = 1;
    the_double.gpus = 2;
    const std::string name = "failure of call " + std::to_string(call);
    FlowEngine* const engine = open("plan", second_gpu);
    if (engine == nullptr) {
      ++failed_to_open;
      expect_text(flow_engine_last_error(), "no backend can run ");
    } else {
      Pair small(60, 80, 1), large(100, 200, 2);
      const bool failed = infer(engine, small) != FLOW_ENGINE_OK;
      if (failed) expect(flow_engine_last_error()[0] != '\0', "a message after " + name);
      failed_to_run += failed || infer(engine, large) != FLOW_ENGINE_OK;
      if (the_double.calls >= call) {
        expect(infer(engine, large) == FLOW_ENGINE_OK && large.has_its_flow(),
               "the engine goes on after " + name);
      }
      flow_engine_close(engine);
    }
    const bool is_last = the_double.calls < call;
    expect(the_double.devices.count(0) == 0, "no memory on another GPU");
    expect_clean(name);
    if (is_last) break;
  }
  std::printf("%d failures while opening, %d while running\n", failed_to_open, failed_to_run);
  expect(failed_to_open >= 8 && failed_to_run >= 20, "calls were made to fail");
}

void expect_refusal(const std::string& bundle, const FlowEngineOptions& options,
                    const std::string& text) {
  FlowEngineOptions named = options;
  named.backend = "tensorrt";
  FlowEngine* const engine = open(bundle, named);
  expect(engine == nullptr, "refuses " + bundle);
  expect_text(flow_engine_last_error(), text);
  flow_engine_close(engine);
  expect_clean("refusal: " + text);
}

void check_refusals() {
  const std::string version = std::to_string(NV_TENSORRT_MAJOR) + ".2.3.4";
  const std::string gpu = "cuda:0 (NVIDIA L4, compute capability 8.9)";
  the_double = {};
  the_double.plan = "of another version";
  expect_refusal("plan", {},
                 "model.plan was built by tensorrt 11.0.0.1 for compute capability 9.0 and does "
                 "not open with tensorrt " +
                     version + " on " + gpu +
                     ": Version tag does not match. Rebuild it here: python -m "
                     "export.build_engine --network tiny ");
  the_double = {};
  the_double.starts = false;
  expect_refusal("plan", {},
                 "tensorrt " + version + " does not start on " + gpu +
                     ": TensorRT gave no reason. Check that the NVIDIA driver");
  the_double = {};
  the_double.major = NV_TENSORRT_MAJOR + 1;
  const std::string major = std::to_string(NV_TENSORRT_MAJOR);
  expect_refusal("plan", {},
                 "this library was compiled for TensorRT " + major + " and runs with TensorRT " +
                     std::to_string(NV_TENSORRT_MAJOR + 1) + ".2.3.4. Install TensorRT " + major);
  the_double = {};
  the_double.gpus = 0;
  expect_refusal("plan", {},
                 "CUDA does not start (cudaGetDeviceCount: no CUDA-capable device is "
                 "detected): expected an NVIDIA GPU and its driver.");
  the_double = {};
  FlowEngineOptions options = {};
  options.device = 1;
  expect_refusal("plan", options, "GPU 1 does not exist; expected 0 to 0 here");
  the_double.tensors.pop_back();
  expect_refusal("plan", {},
                 "model.plan has the tensors ['image1', 'image2']; expected ['flow', "
                 "'image1', 'image2']. Rebuild it: python -m export.build_engine");
  the_double = {};
  the_double.tensors[2].second = nvinfer1::DataType::kHALF;
  expect_refusal("plan", {},
                 "model.plan has tensors of {flow: HALF, image1: UINT8, image2: UINT8}; "
                 "expected images of UINT8 and a flow of FLOAT. Rebuild it: ");
  the_double = {};
  expect_refusal("none", {}, "none has no TensorRT plan; expected model.plan. Build one: ");
  expect_refusal("changed", {}, "model.plan has SHA-256 ");
  options = {};
  options.iterations = 3;
  expect_refusal("recurrent", options,
                 "iterations is 3; the TensorRT plan of this tiny has 12 "
                 "updates, which cannot be changed. Rebuild it with");
}

void check_flow_of_another_shape() {
  the_double = {};
  the_double.flow_channels = 3;
  FlowEngine* const engine = open("plan");
  Pair pair(64, 64, 1);
  expect(infer(engine, pair) == FLOW_ENGINE_BACKEND_ERROR, "a flow of another shape is refused");
  expect_text(flow_engine_last_error(),
              "the plan returns a flow of (1, 64, 64, 3) for images of "
              "(1, 64, 64, 3); expected (1, 64, 64, 2).");
  flow_engine_close(engine);
  expect_clean("a flow of another shape");
}

void check_plugins() {
  the_double = {};
  the_double.fail_at = 5;
  expect_refusal("plugin", {}, "cannot load libflow_correlation_tensorrt.so: undefined symbol");
  for (int turn = 0; turn < 2; ++turn) flow_engine_close(open("plugin"));
  expect(the_double.plugins == std::vector<std::string>{"library"}, "the library is loaded once");
  struct stat found;
  expect(the_double.paths.size() == 1 && stat(the_double.paths[0].c_str(), &found) != 0,
         "the copy is removed");
  expect_clean("plugins");
}

void check_threads() {
  the_double = {};
  FlowEngine* const engine = open("plan");
  constexpr int kThreads = 7, kTurns = 12;
  std::vector<int> wrong(kThreads);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&wrong, engine, i] {
      for (int turn = 0; turn < kTurns; ++turn) {
        Pair pair(40 + 50 * ((i + turn) % 3), 90, static_cast<unsigned>(i));
        wrong[i] += infer(engine, pair) != FLOW_ENGINE_OK || !pair.has_its_flow();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  expect(wrong == std::vector<int>(kThreads), "each thread has its own flow");
  expect(the_double.contexts <= 4, "at most four execution contexts");
  flow_engine_close(engine);
  expect_clean("threads");
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) return 2;
  folder = arguments[1];
  check_flows();
  check_profile();
  check_failures();
  check_refusals();
  check_flow_of_another_shape();
  check_plugins();
  check_threads();
  std::printf("%s\n", all_ok ? "ok" : "FAILED");
  return all_ok ? 0 : 1;
}
