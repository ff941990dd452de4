#include "kernels/openvino/operators.h"

#include <oneapi/tbb/parallel_for.h>

#include <functional>
#include <openvino/core/op_extension.hpp>
#include <openvino/op/op.hpp>

#include "kernels/planes.h"
#include "kernels/remaining_motion.h"

namespace flow {
namespace {

// Throws ov::Exception unless the inputs are of these shapes and this type.
void check_inputs(const ov::Node& node, const std::vector<ov::PartialShape>& expected,
                  const ov::element::Type& of = ov::element::f32) {
  NODE_VALIDATION_CHECK(&node, node.get_input_size() == expected.size(), "it has ",
                        node.get_input_size(), " inputs; expected ", expected.size());
  for (size_t input = 0; input < expected.size(); ++input) {
    const auto type = node.get_input_element_type(input);
    const auto shape = node.get_input_partial_shape(input);
    NODE_VALIDATION_CHECK(&node, type == of && shape.compatible(expected[input]), "input ", input,
                          " is ", type, " ", shape, "; expected ", of, " ", expected[input]);
  }
}

// The shape of the first input if it has four axes, else four unknown ones.
ov::PartialShape first_shape(const ov::Node& node) {
  if (node.get_input_size() == 0) return ov::PartialShape::dynamic(4);
  const ov::PartialShape shape = node.get_input_partial_shape(0);
  return shape.rank() == 4 ? shape : ov::PartialShape::dynamic(4);
}

// Calls for rows [begin, end) in several threads, those of the inference.
void for_rows(size_t height, size_t at_once, const std::function<void(size_t, size_t)>& call) {
  tbb::parallel_for(tbb::blocked_range<size_t>(0, height, at_once),
                    [&](const auto& rows) { call(rows.begin(), rows.end()); });
}

// What the operators have in common. Tensors of other shapes than those that
// `validate_and_infer_types` has seen do not reach `evaluate`.
template <typename Own>
class Operator : public ov::op::Op {
 public:
  Operator() = default;

  explicit Operator(const ov::OutputVector& inputs) : Op(inputs) {}

  static std::shared_ptr<ov::Node> made(const ov::OutputVector& inputs) {
    const auto node = std::make_shared<Own>(inputs);
    node->validate_and_infer_types();
    return node;
  }

  std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override {
    return made(inputs);
  }

  bool visit_attributes(ov::AttributeVisitor&) override { return true; }

  bool has_evaluate() const override { return true; }
};

// image1, image2 (N, H, W, 3) uint8 -> (N, 6, H / 4, W / 4).
class QuarterPixelsOperator : public Operator<QuarterPixelsOperator> {
 public:
  OPENVINO_OP("quarter_pixels", "flow_engine");

  using Operator::Operator;

  void validate_and_infer_types() override {
    const ov::PartialShape image = first_shape(*this);
    const ov::PartialShape expected = {image[0], image[1], image[2], 3};
    check_inputs(*this, {expected, expected}, ov::element::u8);
    for (const ov::Dimension& side : {image[1], image[2]}) {
      NODE_VALIDATION_CHECK(this, side.is_dynamic() || side.get_length() % 4 == 0, "input 0 is ",
                            image, "; expected sides of multiples of 4");
    }
    set_output_type(0, ov::element::f32, {image[0], 6, image[1] / 4, image[2] / 4});
  }

  bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override {
    const ov::Shape image = inputs[0].get_shape();
    const size_t height = image[1], width = image[2], rows = height / 4;
    const size_t quartered = 3 * rows * (width / 4);
    outputs[0].set_shape({image[0], 6, rows, width / 4});
    float* to = outputs[0].data<float>();
    // A pair's planes are those of its first image, then those of its second.
    for_rows(image[0] * 2 * rows, 16, [&](size_t begin, size_t end) {
      for (size_t row = begin; row < end; ++row) {
        const size_t index = row / rows, pair = index / 2;
        const uint8_t* from = inputs[index % 2].data<const uint8_t>() + pair * height * width * 3;
        Pixels{from, height, width}.quarter(row % rows, to + index * quartered);
      }
    });
    return true;
  }
};

// planes (N, 6, H, W) -> (N, 6, H / 2, W / 2).
class HalveImagesOperator : public Operator<HalveImagesOperator> {
 public:
  OPENVINO_OP("halve_images", "flow_engine");

  using Operator::Operator;

  void validate_and_infer_types() override {
    const ov::PartialShape planes = first_shape(*this);
    check_inputs(*this, {{planes[0], 6, planes[2], planes[3]}});
    for (const ov::Dimension& side : {planes[2], planes[3]}) {
      NODE_VALIDATION_CHECK(this, side.is_dynamic() || side.get_length() % 2 == 0, "input 0 is ",
                            planes, "; expected even sides");
    }
    set_output_type(0, ov::element::f32, {planes[0], 6, planes[2] / 2, planes[3] / 2});
  }

  bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override {
    const ov::Shape planes = inputs[0].get_shape();
    const size_t height = planes[2], width = planes[3];
    outputs[0].set_shape({planes[0], planes[1], height / 2, width / 2});
    const float* from = inputs[0].data<const float>();
    float* to = outputs[0].data<float>();
    const size_t rows = height / 2;
    for_rows(planes[0] * planes[1] * rows, 64, [&](size_t begin, size_t end) {
      for (size_t row = begin; row < end; ++row) {
        const size_t plane = row / rows;
        Plane{from + plane * height * width, height, width}.halve(row % rows,
                                                                  to + plane * rows * (width / 2));
      }
    });
    return true;
  }
};

// grey (N, 2, H, W) -> (N, 4, H, W).
class DerivativesOperator : public Operator<DerivativesOperator> {
 public:
  OPENVINO_OP("derivatives", "flow_engine");

  using Operator::Operator;

  void validate_and_infer_types() override {
    const ov::PartialShape grey = first_shape(*this);
    check_inputs(*this, {{grey[0], 2, grey[2], grey[3]}});
    set_output_type(0, ov::element::f32, {grey[0], 4, grey[2], grey[3]});
  }

  bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override {
    const ov::Shape grey = inputs[0].get_shape();
    const size_t height = grey[2], pixels = height * grey[3];
    outputs[0].set_shape({grey[0], 4, height, grey[3]});
    const float* from = inputs[0].data<const float>();
    float* to = outputs[0].data<float>();
    for_rows(grey[0] * 2 * height, 32, [&](size_t begin, size_t end) {
      for (size_t row = begin; row < end; ++row) {
        const size_t image = row / height;
        Plane{from + image * pixels, height, grey[3]}.differentiate(
            row % height, to + 2 * image * pixels, to + (2 * image + 1) * pixels);
      }
    });
    return true;
  }
};

// flow (N, 2, H, W), first (N, 2, 2, 2, H, W), second (N, 2, 2 H, 2 W) -> (N, kMeasured, H, W).
class RemainingMotionOperator : public Operator<RemainingMotionOperator> {
 public:
  OPENVINO_OP("remaining_motion", "flow_engine");

  using Operator::Operator;

  void validate_and_infer_types() override {
    const ov::PartialShape flow = first_shape(*this);
    const ov::Dimension batch = flow[0], height = flow[2], width = flow[3];
    check_inputs(*this, {{batch, 2, height, width},
                         {batch, 2, 2, 2, height, width},
                         {batch, 2, height * 2, width * 2}});
    set_output_type(0, ov::element::f32, {batch, kMeasured, height, width});
  }

  bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override {
    const ov::Shape flow = inputs[0].get_shape();
    const size_t height = flow[2], width = flow[3], cells = height * width;
    outputs[0].set_shape({flow[0], kMeasured, height, width});
    for (size_t pair = 0; pair < flow[0]; ++pair) {
      const RemainingMotion motion = {inputs[0].data<const float>() + pair * 2 * cells,
                                      inputs[1].data<const float>() + pair * 8 * cells,
                                      inputs[2].data<const float>() + pair * 8 * cells,
                                      outputs[0].data<float>() + pair * kMeasured * cells,
                                      height,
                                      width};
      // A block also computes the rows around it.
      for_rows(height, 16, [&](size_t begin, size_t end) { motion.rows(begin, end); });
    }
    return true;
  }
};

// All operators, each by the name that OPENVINO_OP gives it.
template <typename... Each>
struct List {
  static std::vector<ov::Extension::Ptr> extensions() {
    return {std::make_shared<ov::OpExtension<Each>>()...};
  }

  static std::shared_ptr<ov::Node> made(const std::string& name, const ov::OutputVector& inputs) {
    std::shared_ptr<ov::Node> node;
    ((name == Each::get_type_info_static().name && (node = Each::made(inputs))) || ...);
    return node;
  }
};

using Operators =
    List<QuarterPixelsOperator, HalveImagesOperator, DerivativesOperator, RemainingMotionOperator>;

}  // namespace

std::vector<ov::Extension::Ptr> operator_extensions() { return Operators::extensions(); }

std::shared_ptr<ov::Node> make_operator(const std::string& name, const ov::OutputVector& inputs) {
  return Operators::made(name, inputs);
}

}  // namespace flow
