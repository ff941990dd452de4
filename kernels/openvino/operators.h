// The project's operators for OpenVINO's CPU plugin. Their names are those in the metadata of ONNX
// files (export/graph/operators.py).

#ifndef FLOW_KERNELS_OPENVINO_OPERATORS_H_
#define FLOW_KERNELS_OPENVINO_OPERATORS_H_

#include <memory>
#include <openvino/core/extension.hpp>
#include <openvino/core/node.hpp>
#include <string>
#include <vector>

namespace flow {

// What `ov::Core::add_extension` takes, once for each core: a model that OpenVINO has cached is
// read with it.
std::vector<ov::Extension::Ptr> operator_extensions();

// Creates an operator; null: there is none of this name. Throws ov::Exception: the inputs do not
// fit.
std::shared_ptr<ov::Node> make_operator(const std::string& name, const ov::OutputVector& inputs);

}  // namespace flow

#endif  // FLOW_KERNELS_OPENVINO_OPERATORS_H_
