// An ONNX file in OpenVINO, compiled for each input size: engine/backends/openvino/session.py.

#ifndef FLOW_ENGINE_BACKENDS_OPENVINO_SESSION_H_
#define FLOW_ENGINE_BACKENDS_OPENVINO_SESSION_H_

#include <map>
#include <memory>
#include <mutex>
#include <openvino/runtime/compiled_model.hpp>
#include <openvino/runtime/infer_request.hpp>
#include <string>
#include <vector>

#include "backends/graphs.h"
#include "backends/openvino/graph.h"

namespace flow_engine {

// A compiled model with its idle infer requests: as many as threads ever ran at once.
class Compiled {
 public:
  explicit Compiled(ov::CompiledModel model) : model_(std::move(model)) {}

  Tensors run(const Tensors& inputs);

 private:
  ov::InferRequest take();

  ov::CompiledModel model_;
  std::mutex lock_;
  std::vector<ov::InferRequest> idle_;
};

class OpenVinoSession : public Model {
 public:
  // Throws BackendError: OpenVINO cannot read the file, or the CPU would compute it wrongly.
  OpenVinoSession(const Bundle& bundle, const std::string& name, const Settings& settings);

  Tensors run(const Tensors& inputs) override;

  std::string arithmetic;

 private:
  using Shapes = std::map<std::string, std::vector<int64_t>>;

  Compiled& compiled_for(const Shapes& shapes);
  std::unique_ptr<Compiled> compile(const Shapes* shapes) const;
  // Counts uses of a size, and tells whether it is now to have a model of its own. Under known_.
  bool gets_its_own(const Shapes& shapes, size_t use);

  const std::string path_;
  const Settings settings_;
  size_t at_once_, in_all_, often_;
  Graph model_;
  std::mutex compiling_, known_;
  std::vector<std::pair<Shapes, std::unique_ptr<Compiled>>> static_;
  std::unique_ptr<Compiled> dynamic_;
  std::map<Shapes, size_t> uses_;
};

// Release of OpenVINO, without build number and branch.
std::string openvino_version();

}  // namespace flow_engine

#endif  // FLOW_ENGINE_BACKENDS_OPENVINO_SESSION_H_
