// An opened bundle and the rules that all backends share: engine/loader.py, engine/inference.py.

#ifndef FLOW_ENGINE_ENGINE_H_
#define FLOW_ENGINE_ENGINE_H_

#include <memory>
#include <string>
#include <vector>

#include "backends/registry.h"
#include "bundle/manifest.h"
#include "flow_engine.h"
#include "layout.h"

namespace flow_engine {

struct Pair {
  FlowEngineImage first, second;
  FlowEngineFlow flow;
};

class Engine {
 public:
  // Opens a bundle after checking all of its files. options: all fields, checked sizes.
  static std::shared_ptr<Engine> open(const std::string& bundle, const FlowEngineOptions& options);

  // Computes the flows of pairs of one size in one call of the backend; thread-safe.
  void infer(const std::vector<Pair>& pairs);

  FlowEngineInfo info() const;

 private:
  Engine(Manifest manifest, OpenedBackend opened, const Settings& settings);

  static std::shared_ptr<Engine> open_once(const std::string& bundle,
                                           const FlowEngineOptions& options);
  Shape padded_shape(const std::vector<Pair>& pairs) const;
  void deliver(const float* flows, const Shape& shape, const std::vector<Pair>& pairs) const;
  void refine(const uint8_t* first, const uint8_t* second, const float* flows, const Shape& shape,
              float* refined) const;

  const Manifest manifest_;
  const OpenedBackend opened_;
  const bool refines_;
  const size_t refining_threads_;
};

}  // namespace flow_engine

#endif  // FLOW_ENGINE_ENGINE_H_
