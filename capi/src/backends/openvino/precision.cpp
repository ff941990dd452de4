#include <algorithm>
#include <openvino/op/constant.hpp>
#include <openvino/op/convert.hpp>
#include <openvino/op/parameter.hpp>
#include <vector>

#include "backends/openvino/graph.h"
#include "errors.h"
#include "system/cpu.h"
#include "text.h"

namespace flow_engine {
namespace {

using Output = ov::Output<ov::Node>;

void make_float32(const std::shared_ptr<ov::Node>& node) {
  using namespace ov::op::v0;
  if (const auto parameter = std::dynamic_pointer_cast<Parameter>(node)) {
    parameter->set_element_type(ov::element::f32);
  } else if (const auto constant = std::dynamic_pointer_cast<Constant>(node)) {
    const auto single = std::make_shared<Constant>(ov::element::f32, constant->get_shape(),
                                                   constant->cast_vector<float>());
    constant->output(0).replace(single->output(0));
  } else if (std::dynamic_pointer_cast<Convert>(node) != nullptr) {
    const auto convert = std::make_shared<Convert>(node->input_value(0), ov::element::f32);
    node->output(0).replace(convert->output(0));
  }
}

// The largest magnitude of the quantised weights; 0: nothing is quantised.
int largest_weight(const Graph& model) {
  int largest = 0;
  for (const auto& node : model->get_ops()) {
    const auto constant = std::dynamic_pointer_cast<ov::op::v0::Constant>(node);
    if (constant == nullptr || constant->get_element_type() != ov::element::i8) continue;
    const auto* const codes = constant->get_data_ptr<int8_t>();
    const size_t count = ov::shape_size(constant->get_shape());
    for (size_t i = 0; i < count; ++i) largest = std::max(largest, std::abs(int{codes[i]}));
  }
  return largest;
}

// The ends of the chains of operations `kinds` that start at an output.
std::vector<Output> ends(const Output& output, const std::vector<std::string>& kinds) {
  if (kinds.empty()) return {output};
  std::vector<Output> found;
  for (const auto& target : output.get_target_inputs()) {
    if (kinds[0] != target.get_node()->get_type_name()) continue;
    const auto rest = ends(target.get_node()->output(0), {kinds.begin() + 1, kinds.end()});
    found.insert(found.end(), rest.begin(), rest.end());
  }
  return found;
}

// Removes the quantisation of the activations that operations of type `reader` read; "": of all.
void remove_rounding(const Graph& model, const std::string& reader) {
  // To int8, back to float32, minus the zero point, times the scale.
  const std::vector<std::string> dequantisation = {"Convert", "Convert", "Subtract", "Multiply"};
  for (const auto& node : model->get_ordered_ops()) {
    if (std::string("FakeQuantize") != node->get_type_name()) continue;
    for (const Output& dequantised : ends(node->output(0), dequantisation)) {
      for (auto target : dequantised.get_target_inputs()) {
        if (!reader.empty() && reader != target.get_node()->get_type_name()) continue;
        target.replace_source_output(node->input_value(0));
      }
    }
  }
  model->validate_nodes_and_infer_types();
}

}  // namespace

void make_float32(const Graph& model) {
  bool changed = false;
  for (const auto& node : model->get_ordered_ops()) {
    const auto outputs = node->outputs();
    const auto is_half = [](const Output& output) {
      return output.get_element_type() == ov::element::f16;
    };
    if (std::none_of(outputs.begin(), outputs.end(), is_half)) continue;
    make_float32(node);
    changed = true;
  }
  if (changed) model->validate_nodes_and_infer_types();
}

std::string fit_to_cpu(const Graph& model) {
  const int largest = largest_weight(model);
  if (largest == 0) return "float32";
  const std::string instructions = int8_instructions();
  if (instructions.empty()) {
    remove_rounding(model, "");
    if (kIsArm) return "float32: OpenVINO computes int8 wrongly on Arm";
    return concat("float32: int8 was not measured on ", cpu_model());
  }
  std::string fault = largest > kSafeInt8Weight ? vnni_fault() : "";
  if (fault.empty()) fault = amx_fault();
  if (!fault.empty()) {
    throw BackendError(concat("backend openvino cannot run an int8 bundle: ", fault,
                              ". Use backend onnxruntime, which computes the same bundle in float, "
                              "or build the bundle again: weights now have 7 bits, which do not "
                              "saturate"));
  }
  if (instructions == "AVX2") {  // where transposed convolutions are faster in float32
    remove_rounding(model, "ConvolutionBackpropData");
    return "int8, with AVX2 (transposed convolutions in float32)";
  }
  return "int8, with " + instructions;
}

}  // namespace flow_engine
