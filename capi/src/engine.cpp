#include "engine.h"

#include <algorithm>
#include <exception>
#include <new>
#include <system_error>

#include "bundle/files.h"
#include "checks.h"
#include "errors.h"
#include "kernels/refinement.h"
#include "text.h"

namespace flow_engine {
namespace {

// Memory for a padded batch of so many channels, not set to zero. Throws std::bad_alloc, also for
// sizes beyond 64 bits.
template <typename Number>
std::unique_ptr<Number[]> batch_memory(const Shape& shape, size_t channels) {
  size_t size = channels;
  for (const int64_t side : {shape.batch, shape.height, shape.width}) {
    if (__builtin_mul_overflow(size, side, &size)) throw std::bad_alloc();
  }
  return std::unique_ptr<Number[]>(new Number[size]);
}

}  // namespace

Engine::Engine(Manifest manifest, OpenedBackend opened, const Settings& settings)
    : manifest_(std::move(manifest)),
      opened_(std::move(opened)),
      refines_((settings.refine.empty() ? manifest_.refine : settings.refine) == "variational"),
      refining_threads_(static_cast<size_t>(std::max(1, settings.threads / settings.streams))) {}

std::shared_ptr<Engine> Engine::open(const std::string& bundle, const FlowEngineOptions& options) {
  const std::string folder = plain_path(bundle);
  while (true) {  // once more whenever a build has replaced the bundle: engine/bundle/reading.py
    const std::string before = identity(folder);
    try {
      return open_once(folder, options);
    } catch (const BundleError&) {
      if (identity(folder) == before) throw;
    }
  }
}

std::shared_ptr<Engine> Engine::open_once(const std::string& bundle,
                                          const FlowEngineOptions& options) {
  const std::string backend = options.backend == nullptr ? kAuto : options.backend;
  const Settings settings = settings_from(options);
  Manifest manifest = manifest_from(bundle, manifest_text(bundle));
  check_iterations(settings, manifest);
  const Contents contents = verified_files(bundle, manifest, files_read_by(backend));
  check_backend(backend);
  OpenedBackend opened = open_backend(backend, {bundle, manifest, contents}, settings);
  return std::shared_ptr<Engine>(new Engine(std::move(manifest), std::move(opened), settings));
}

void Engine::infer(const std::vector<Pair>& pairs) {
  check_pairs(pairs);
  const Shape shape = padded_shape(pairs);
  const auto first = batch_memory<uint8_t>(shape, 3), second = batch_memory<uint8_t>(shape, 3);
  for (size_t i = 0; i < pairs.size(); ++i) {
    const size_t at = i * static_cast<size_t>(shape.height * shape.width * 3);
    lay_out(pairs[i].first, shape.height, shape.width, first.get() + at);
    lay_out(pairs[i].second, shape.height, shape.width, second.get() + at);
  }
  try {
    opened_.backend->run(shape, first.get(), second.get(), [&](const float* flows) {
      deliver(flows, shape, pairs);  // and look for NaN, which refinement would spread
      if (!refines_) return;
      const auto refined = batch_memory<float>(shape, 2);
      refine(first.get(), second.get(), flows, shape, refined.get());
      deliver(refined.get(), shape, pairs);
    });
  } catch (const Error&) {
    throw;
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {  // each runtime has its own types
    throw BackendError(concat(manifest_.network, ": ", opened_.name, " ",
                              opened_.backend->runtime_version, " failed on ", shape.batch,
                              " pair(s) of ", pairs[0].first.height, "x", pairs[0].first.width,
                              ": ", one_line(error.what()), "."));
  }
}

FlowEngineInfo Engine::info() const {
  return {sizeof(FlowEngineInfo),
          manifest_.network.c_str(),
          manifest_.precision.c_str(),
          opened_.name.c_str(),
          opened_.backend->device.c_str(),
          opened_.backend->runtime_version.c_str(),
          opened_.backend->arithmetic.c_str(),
          static_cast<int32_t>(manifest_.divisor)};
}

Shape Engine::padded_shape(const std::vector<Pair>& pairs) const {
  const FlowEngineImage& image = pairs[0].first;
  const Shape shape = {static_cast<int64_t>(pairs.size()),
                       padded(image.height, manifest_.divisor, manifest_.smallest),
                       padded(image.width, manifest_.divisor, manifest_.smallest)};
  if (opened_.backend->profile) {
    check_profile(*opened_.backend->profile, manifest_.network, image, shape);
  }
  check_memory(manifest_, shape);
  return shape;
}

void Engine::deliver(const float* flows, const Shape& shape, const std::vector<Pair>& pairs) const {
  int64_t bad = 0;
  for (size_t i = 0; i < pairs.size(); ++i) {
    const size_t at = i * static_cast<size_t>(shape.height * shape.width * 2);
    bad += crop(flows + at, shape.width, pairs[i].flow);
  }
  if (bad == 0) return;
  const FlowEngineFlow& flow = pairs[0].flow;
  throw BackendError(concat("the flow of ", bad, " of ", shape.batch * flow.height * flow.width,
                            " pixels is NaN or infinite; expected finite values. Try another "
                            "backend, or a bundle of precision fp32: fp16 can overflow."));
}

void Engine::refine(const uint8_t* first, const uint8_t* second, const float* flows,
                    const Shape& shape, float* refined) const {
  const auto height = static_cast<size_t>(shape.height), width = static_cast<size_t>(shape.width);
  try {
    for (size_t i = 0; i < static_cast<size_t>(shape.batch); ++i) {
      const size_t at = i * height * width;
      flow::Refinement{first + 3 * at,   second + 3 * at, flows + 2 * at,
                       refined + 2 * at, height,          width}
          .run(refining_threads_);
    }
  } catch (const std::system_error&) {
    throw BackendError("the refinement of a flow failed: no thread could be started.");
  }
}

}  // namespace flow_engine
