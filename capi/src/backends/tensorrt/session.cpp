// TensorRT on an NVIDIA GPU: engine/backends/tensorrt/backend.py.

#include <condition_variable>
#include <mutex>
#include <vector>

#include "backends/registry.h"
#include "backends/tensorrt/gpu.h"
#include "backends/tensorrt/log.h"
#include "backends/tensorrt/plan.h"
#include "backends/tensorrt/slot.h"
#include "bundle/advice.h"
#include "errors.h"
#include "text.h"

namespace flow_engine {
namespace {

// Each slot has TensorRT's scratch memory for the largest size of the profile.
constexpr size_t kMostSlots = 4;

// Concurrent callers share the plan; each has an execution slot, further ones wait.
class TensorRt : public Backend {
 public:
  TensorRt(Gpu gpu, Plan plan) : gpu_(std::move(gpu)), plan_(std::move(plan)) {
    idle_.reserve(kMostSlots);
    profile = plan_.profile;
    device = concat("cuda:", gpu_.index);
    runtime_version = tensorrt_version();
  }

  ~TensorRt() override {
    try {
      const CurrentGpu current(gpu_);
      idle_.clear();
      plan_.engine.reset();
      plan_.runtime.reset();
    } catch (const std::exception&) {  // the GPU is lost, and its memory with it
    }
  }

  void run(const Shape& shape, uint8_t* first, uint8_t* second,
           const std::function<void(const float*)>& flow) override {
    const CurrentGpu current(gpu_);
    std::unique_ptr<ExecutionSlot> slot = take();
    const float* result = nullptr;
    try {
      result = slot->run(shape, first, second);
    } catch (...) {
      slot.reset();
      give_back(nullptr);
      throw;
    }
    try {
      flow(result);
    } catch (...) {  // the caller's error, not the slot's
      give_back(std::move(slot));
      throw;
    }
    give_back(std::move(slot));
  }

 private:
  using Slot = std::unique_ptr<ExecutionSlot>;

  Slot take() {
    std::unique_lock guard(lock_);
    changed_.wait(guard, [&] { return !idle_.empty() || made_ < kMostSlots; });
    Slot slot;
    if (idle_.empty()) {
      slot = std::make_unique<ExecutionSlot>(gpu_, *plan_.engine);
      ++made_;
    } else {
      slot = std::move(idle_.back());
      idle_.pop_back();
    }
    return slot;
  }

  // slot: null: it failed, and was destroyed.
  void give_back(Slot slot) noexcept {
    const std::lock_guard guard(lock_);
    if (slot == nullptr) {
      --made_;
    } else {
      idle_.push_back(std::move(slot));  // there is room
    }
    changed_.notify_all();  // a slot may fail to be made where one was freed
  }

  const Gpu gpu_;
  Plan plan_;
  std::mutex lock_;
  std::condition_variable changed_;
  std::vector<Slot> idle_;
  size_t made_ = 0;
};

void check_fixed_iterations(const Manifest& manifest, const Settings& settings) {
  const std::optional<int64_t> own =
      manifest.recurrence ? manifest.recurrence->iterations : manifest.passes;
  if (!settings.iterations || !own || *settings.iterations == *own) return;
  throw BackendError(concat("iterations is ", *settings.iterations, "; the TensorRT plan of this ",
                            manifest.network, " has ", *own,
                            " updates, which cannot be changed. Rebuild it with --iterations ",
                            *settings.iterations, ", or use backend openvino or onnxruntime."));
}

}  // namespace

std::unique_ptr<Backend> open_tensorrt(const Bundle& bundle, const Settings& settings) {
  if (bundle.manifest.find(kPlan) == nullptr) {
    throw BackendError(
        concat(bundle.folder, " has no TensorRT plan; expected ", kPlan,
               ". Build one: ", rebuild_command(bundle.folder, bundle.manifest, "tensorrt")));
  }
  check_fixed_iterations(bundle.manifest, settings);
  Gpu gpu(settings.device);
  try {
    const CurrentGpu current(gpu);
    auto backend = std::make_unique<TensorRt>(gpu, open_plan(gpu, bundle));
    backend->arithmetic = bundle.manifest.precision;
    return backend;
  } catch (const Error&) {
    throw;
  } catch (const std::runtime_error& error) {
    throw BackendError(concat(gpu.text(), ": ", error.what()));
  }
}

}  // namespace flow_engine
