#include <openvino/op/constant.hpp>
#include <stdexcept>
#include <vector>

#include "backends/openvino/graph.h"
#include "bundle/number.h"
#include "text.h"

namespace flow_engine {
namespace {

// As Python's list of the values.
std::string list_of(const ov::op::v0::Constant& values) {
  const bool is_real = values.get_element_type().is_real();
  std::vector<std::string> parts;
  for (const double value : values.cast_vector<double>()) {
    parts.push_back(is_real ? python_float(value) : std::to_string(static_cast<int64_t>(value)));
  }
  return "[" + join(parts, ", ") + "]";
}

}  // namespace

void check_resizes(const Graph& model) {
  for (const auto& node : model->get_ordered_ops()) {
    if (std::string("Interpolate") != node->get_type_name()) continue;
    const auto wanted =
        std::dynamic_pointer_cast<ov::op::v0::Constant>(node->input_value(1).get_node_shared_ptr());
    if (wanted == nullptr) continue;
    for (const double value : wanted->cast_vector<double>()) {
      if (value > 0) continue;
      throw std::runtime_error(concat("a Resize has the scales or sizes ", list_of(*wanted),
                                      "; expected positive ones"));
    }
  }
}

}  // namespace flow_engine
