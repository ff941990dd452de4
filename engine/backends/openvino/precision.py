"""float16 graphs as float32: OpenVINO's CPU plugin computes them so."""

from typing import Any

import numpy as np


def in_float32(openvino: Any, model: Any) -> Any:
    """Make the float16 tensors of a model float32, in place, and return the model.

    OpenVINO would do the same at each compilation, in new memory: with constants that are float32
    already, all compilations share them. Of FlowNet2 in fp16 that saves 0.6 GiB for each size, and
    half of the time of the compilation. The results are the same.

    Args:
        openvino: the module.
        model: the ``openvino.Model``, without Loops. Inputs and outputs become float32, too.
    """
    half, single = openvino.Type.f16, openvino.Type.f32
    changed = [
        node
        for node in model.get_ordered_ops()
        if any(output.get_element_type() == half for output in node.outputs())
    ]
    opset = openvino.opset13
    for node in changed:
        kind = node.get_type_name()
        if kind == "Parameter":
            node.set_element_type(single)
        elif kind == "Constant":
            constant = opset.constant(node.data.astype(np.float32))
            node.output(0).replace(constant.output(0))
        elif kind == "Convert":
            node.output(0).replace(opset.convert(node.input_value(0), "f32").output(0))
    if changed:
        model.validate_nodes_and_infer_types()
    return model
