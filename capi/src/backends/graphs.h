// The ONNX graphs of a bundle, one for the whole network, or two: engine/backends/onnx_graphs.py.

#ifndef FLOW_ENGINE_BACKENDS_GRAPHS_H_
#define FLOW_ENGINE_BACKENDS_GRAPHS_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "backends/backend.h"

namespace flow_engine {

enum class ElementType { kUint8, kFloat16, kFloat32 };

struct Tensor {
  ElementType type;
  std::vector<int64_t> shape;
  void* data;
  std::shared_ptr<void> owner = {};  // of the data; null: the caller
};

using Tensors = std::map<std::string, Tensor>;

// One ONNX file in a runtime; thread-safe.
class Model {
 public:
  virtual ~Model() = default;
  virtual Tensors run(const Tensors& inputs) = 0;
};

// Opens the file `name` of a bundle.
using OpenModel = std::function<std::unique_ptr<Model>(const std::string& name)>;

// A backend that runs ONNX graphs on the CPU.
class GraphBackend : public Backend {
 public:
  // Throws BackendError: the bundle has no ONNX graph. backend: its name, for the message.
  GraphBackend(const Bundle& bundle, const std::string& backend, const OpenModel& open);

  void run(const Shape& shape, uint8_t* first, uint8_t* second,
           const std::function<void(const float*)>& flow) override;

 private:
  Tensors matched(const Tensor& first, const Tensor& second);

  std::unique_ptr<Model> whole_, features_, match_;
  const bool is_recurrent_;
};

// The checked content of a model file. Throws BundleError: it is no ONNX.
const std::string& onnx_of(const Bundle& bundle, const std::string& name);

constexpr const char* kIterations = "iterations";  // the initializer with the number of updates
// Key of the metadata that tell where a graph has one of this project's operators.
constexpr const char* kOperators = "operators";

}  // namespace flow_engine

#endif  // FLOW_ENGINE_BACKENDS_GRAPHS_H_
