#include "backends/graphs.h"

#include <numeric>

#include "bundle/advice.h"
#include "bundle/onnx_format.h"
#include "errors.h"
#include "text.h"

namespace flow_engine {
namespace {

constexpr const char* kWhole = "model.onnx";
constexpr const char* kFeatures = "features.onnx";
constexpr const char* kMatch = "match.onnx";

std::string file_names(const Manifest& manifest) {
  std::vector<std::string> names;
  for (const BundleFile& file : manifest.files) names.push_back(file.name);
  return join(names, ", ");
}

std::string python_tuple(const std::vector<int64_t>& shape) {
  std::vector<std::string> sides;
  for (const int64_t side : shape) sides.push_back(std::to_string(side));
  return "(" + join(sides, ", ") + (sides.size() == 1 ? ",)" : ")");
}

const char* name_of(ElementType type) {
  return type == ElementType::kFloat32   ? "float32"
         : type == ElementType::kFloat16 ? "float16"
                                         : "uint8";
}

const Tensor& output_of(const Tensors& outputs, const char* name) {
  const auto found = outputs.find(name);
  if (found != outputs.end()) return found->second;
  throw BackendError(concat("the model has no output ", name, ". Build the bundle again."));
}

// A graph can return any array under the name of the flow: engine/backends/flow_check.py.
const float* checked_flow(const Tensor& flow, const Shape& images) {
  const std::vector<int64_t> expected = {images.batch, images.height, images.width, 2};
  if (flow.type == ElementType::kFloat32 && flow.shape == expected) {
    return static_cast<const float*>(flow.data);
  }
  throw BackendError(concat("the model returns ", name_of(flow.type), " ", python_tuple(flow.shape),
                            " for images of ",
                            python_tuple({images.batch, images.height, images.width, 3}),
                            "; expected float32 ", python_tuple(expected),
                            ". It is not as export.build_engine makes it: build the bundle "
                            "again."));
}

Tensor image(const Shape& shape, uint8_t* data) {
  return {ElementType::kUint8, {shape.batch, shape.height, shape.width, 3}, data};
}

}  // namespace

GraphBackend::GraphBackend(const Bundle& bundle, const std::string& backend, const OpenModel& open)
    : is_recurrent_(bundle.manifest.recurrence.has_value()) {
  const Manifest& manifest = bundle.manifest;
  if (manifest.find(kFeatures) != nullptr && manifest.find(kMatch) != nullptr) {
    features_ = open(kFeatures);
    match_ = open(kMatch);
    return;
  }
  if (manifest.find(kWhole) == nullptr) {
    throw BackendError(concat("backend ", backend, " needs ", kWhole, "; the bundle ",
                              bundle.folder, " contains ", file_names(manifest),
                              ". Build one that has it: `",
                              rebuild_command(bundle.folder, manifest, backend, true), "`."));
  }
  whole_ = open(kWhole);
}

void GraphBackend::run(const Shape& shape, uint8_t* first, uint8_t* second,
                       const std::function<void(const float*)>& flow) {
  const Tensor image1 = image(shape, first), image2 = image(shape, second);
  const Tensors outputs = whole_ != nullptr ? whole_->run({{"image1", image1}, {"image2", image2}})
                                            : matched(image1, image2);
  flow(checked_flow(output_of(outputs, "flow"), shape));
}

Tensors GraphBackend::matched(const Tensor& first, const Tensor& second) {
  const Tensors features1 = features_->run({{"image", first}});
  const Tensors features2 = features_->run({{"image", second}});
  Tensors inputs = {{"skip", output_of(features1, "skip")},
                    {"features1", output_of(features1, "features")},
                    {"features2", output_of(features2, "features")}};
  std::vector<float> start;  // no motion
  if (is_recurrent_) {
    std::vector<int64_t> shape = inputs["features1"].shape;
    if (shape.size() != 4) {
      throw BackendError(concat("the model returns features of the shape ", python_tuple(shape),
                                "; expected four dimensions. Build the bundle again."));
    }
    shape.back() = 2;
    const auto count = std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
    start.resize(static_cast<size_t>(count));
    inputs["initial_flow"] = {ElementType::kFloat32, shape, start.data()};
  }
  return match_->run(inputs);
}

const std::string& onnx_of(const Bundle& bundle, const std::string& name) {
  const std::string& content = bundle.contents.at(name);
  check_onnx(bundle.folder + "/" + name, content, *bundle.manifest.find(name));
  return content;
}

}  // namespace flow_engine
