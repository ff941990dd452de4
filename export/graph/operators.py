"""The project's operators as nodes of an exported graph, each with its own name."""

from collections.abc import Callable
from typing import Any

import onnx
import onnxscript
import torch
from torch import Tensor

from training.networks.refinement import remaining_motion

NAMESPACE = "flow"
LOCAL_MOTION = "local_motion"


@torch.library.custom_op(f"{NAMESPACE}::{LOCAL_MOTION}", mutates_args=())
def local_motion(flow: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """`remaining_motion` as one operator, for the time of an export."""
    return remaining_motion(flow, first, second)


@local_motion.register_fake
def _empty(flow: Tensor, first: Tensor, second: Tensor) -> Tensor:
    return flow.new_empty((flow.shape[0], 5, *flow.shape[2:]))


def operator_table() -> dict[Any, Callable[..., Any]]:
    """For ``torch.onnx.export(..., custom_translation_table=...)``: a node for each operator."""
    formal = onnx.defs.OpSchema.FormalParameter
    schema = onnx.defs.OpSchema(
        LOCAL_MOTION,
        NAMESPACE,
        1,
        inputs=[formal(name, "tensor(float)") for name in ("flow", "first", "second")],
        outputs=[formal("measured", "tensor(float)")],
    )
    node = onnxscript.values.Op(onnxscript.values.Opset(NAMESPACE, 1), LOCAL_MOTION, schema)

    def translate(flow: Any, first: Any, second: Any) -> Any:
        return node(flow, first, second)

    return {torch.ops.flow.local_motion.default: translate}
