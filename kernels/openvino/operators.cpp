#include "kernels/openvino/operators.h"

#include <oneapi/tbb/parallel_for.h>

#include <openvino/core/op_extension.hpp>
#include <openvino/op/op.hpp>

#include "kernels/local_motion.h"

namespace flow {
namespace {

// flow (N, 2, H, W), first (N, 2, 2, 2, H, W), second (N, 2, 2 H, 2 W) -> (N, kMeasured, H, W).
class LocalMotionOperator : public ov::op::Op {
 public:
  OPENVINO_OP("local_motion", "flow_engine");

  LocalMotionOperator() = default;

  explicit LocalMotionOperator(const ov::OutputVector& inputs) : Op(inputs) {
    constructor_validate_and_infer_types();
  }

  void validate_and_infer_types() override {
    NODE_VALIDATION_CHECK(this, get_input_size() == 3, "expected 3 inputs");
    const ov::PartialShape flow = get_input_partial_shape(0);
    NODE_VALIDATION_CHECK(this, flow.rank() == 4, "input 0 is ", flow, "; expected 4 axes");
    const ov::Dimension batch = flow[0], height = flow[2], width = flow[3];
    const ov::PartialShape expected[] = {{batch, 2, height, width},
                                         {batch, 2, 2, 2, height, width},
                                         {batch, 2, height * 2, width * 2}};
    for (size_t input = 0; input < 3; ++input) {
      NODE_VALIDATION_CHECK(this,
                            get_input_element_type(input) == ov::element::f32 &&
                                get_input_partial_shape(input).compatible(expected[input]),
                            "input ", input, " is ", get_input_element_type(input), " ",
                            get_input_partial_shape(input), "; expected f32 ", expected[input]);
    }
    set_output_type(0, ov::element::f32, {batch, kMeasured, height, width});
  }

  std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override {
    return std::make_shared<LocalMotionOperator>(inputs);
  }

  bool visit_attributes(ov::AttributeVisitor&) override { return true; }

  bool has_evaluate() const override { return true; }

  // The shapes fit: `validate_and_infer_types` has seen those of these tensors, too.
  bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override {
    const ov::Shape flow = inputs[0].get_shape();
    const size_t height = flow[2], width = flow[3], cells = height * width;
    outputs[0].set_shape({flow[0], kMeasured, height, width});
    for (size_t pair = 0; pair < flow[0]; ++pair) {
      const LocalMotion motion = {inputs[0].data<const float>() + pair * 2 * cells,
                                  inputs[1].data<const float>() + pair * 8 * cells,
                                  inputs[2].data<const float>() + pair * 8 * cells,
                                  outputs[0].data<float>() + pair * kMeasured * cells,
                                  height,
                                  width};
      tbb::parallel_for(tbb::blocked_range<size_t>(0, height, kRowsAtOnce),
                        [&](const auto& rows) { motion.rows(rows.begin(), rows.end()); });
    }
    return true;
  }

 private:
  // Each block of rows also computes those around it.
  static constexpr size_t kRowsAtOnce = 16;
};

}  // namespace

std::vector<ov::Extension::Ptr> operator_extensions() {
  return {std::make_shared<ov::OpExtension<LocalMotionOperator>>()};
}

std::shared_ptr<ov::Node> make_operator(const std::string& name, const ov::OutputVector& inputs) {
  if (name == "local_motion") return std::make_shared<LocalMotionOperator>(inputs);
  return nullptr;
}

}  // namespace flow
