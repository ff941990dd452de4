"""Sizes of resized tensors, checked before OpenVINO computes with them."""

from typing import Any

import numpy as np


def with_positive_resizes(model: Any) -> Any:
    """Check that each resize with constant scales or sizes enlarges or shrinks; return the model.

    OpenVINO 2026.4 accepts a scale of -1, which ONNX forbids, and then writes outside its memory.

    Args:
        model: the ``openvino.Model``.

    Raises:
        ValueError: a scale or size is not positive.
    """
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Interpolate":
            continue
        wanted = node.input_value(1).get_node()
        if wanted.get_type_name() == "Constant" and not np.all(wanted.data > 0):
            raise ValueError(
                f"a Resize has the scales or sizes {wanted.data.tolist()}; expected positive ones"
            )
    return model
