// The boundary of the library: no exception leaves it.

#include <exception>
#include <new>
#include <string>
#include <vector>

#include "arguments.h"
#include "engine.h"
#include "errors.h"
#include "handles.h"
#include "text.h"

namespace {

using namespace flow_engine;

thread_local std::string last_error;

FlowEngineStatus fail(FlowEngineStatus status, const char* text) noexcept {
  try {
    last_error = text;
  } catch (...) {  // no memory for the text
    last_error.clear();
  }
  return status;
}

// Runs `body` and turns its exceptions into a status and a message.
template <typename Body>
FlowEngineStatus guarded(const Body& body) noexcept {
  try {
    body();
    return FLOW_ENGINE_OK;
  } catch (const Error& error) {
    return fail(error.status, error.what());
  } catch (const std::bad_alloc&) {
    return fail(FLOW_ENGINE_NO_MEMORY, "out of memory");
  } catch (const std::exception& error) {
    return fail(FLOW_ENGINE_INTERNAL_ERROR, error.what());
  } catch (...) {
    return fail(FLOW_ENGINE_INTERNAL_ERROR, "unknown exception");
  }
}

// Of several pairs, the name has the index.
Pair read_pair(const FlowEngineImage* first, const FlowEngineImage* second,
               const FlowEngineFlow* flow, const std::string& index) {
  return {read(first, "image1" + index), read(second, "image2" + index),
          read(flow, "flow" + index)};
}

}  // namespace

int32_t flow_engine_version(void) {
  return 10000 * FLOW_ENGINE_VERSION_MAJOR + 100 * FLOW_ENGINE_VERSION_MINOR +
         FLOW_ENGINE_VERSION_PATCH;
}

FlowEngineStatus flow_engine_open(const char* bundle, const FlowEngineOptions* options,
                                  FlowEngine** engine) {
  return guarded([&] {
    if (engine == nullptr) {
      throw InputError("engine is NULL; expected the address of a FlowEngine*.");
    }
    *engine = nullptr;
    if (bundle == nullptr) {
      throw InputError(
          "bundle is NULL; expected the path of a folder written by `python -m "
          "export.build_engine`.");
    }
    FlowEngineOptions all = {};
    if (options != nullptr) all = read(options, "options");
    *engine = handle_of(Engine::open(bundle, all));
  });
}

FlowEngineStatus flow_engine_info(FlowEngine* engine, FlowEngineInfo* info) {
  return guarded([&] {
    const auto opened = engine_of(engine);
    const size_t size = read(info, "info").struct_size;
    *info = opened->info();
    info->struct_size = size;
  });
}

FlowEngineStatus flow_engine_infer(FlowEngine* engine, const FlowEngineImage* image1,
                                   const FlowEngineImage* image2, const FlowEngineFlow* flow) {
  return guarded([&] {
    const auto opened = engine_of(engine);
    opened->infer({read_pair(image1, image2, flow, "")});
  });
}

FlowEngineStatus flow_engine_infer_batch(FlowEngine* engine, size_t count,
                                         const FlowEngineImage* images1,
                                         const FlowEngineImage* images2,
                                         const FlowEngineFlow* flows) {
  return guarded([&] {
    const auto opened = engine_of(engine);
    if (count == 0) throw InputError("count is 0; expected at least one pair.");
    std::vector<Pair> pairs = {read_pair(images1, images2, flows, "[0]")};
    for (size_t i = 1; i < count; ++i) {
      pairs.push_back(read_pair(element(images1, i), element(images2, i), element(flows, i),
                                concat("[", i, "]")));
    }
    opened->infer(pairs);
  });
}

const char* flow_engine_last_error(void) { return last_error.c_str(); }

void flow_engine_close(FlowEngine* engine) {
  static_cast<void>(guarded([&] { close(engine); }));
}
