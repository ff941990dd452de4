"""The project's operators as nodes of an exported graph.

Each is a function of `training.networks`, in whose place an export calls the operator.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import onnx
import onnxscript
import torch
from torch import Tensor

from training.networks.downsampling import halve_images, quarter_pixels
from training.networks.refinement import derivatives, remaining_motion

NAMESPACE = "flow"
_LIBRARY = torch.library.Library(NAMESPACE, "FRAGMENT")

# Names of variable axes, as those of `training.networks.entry.Port`, and lengths of the others.
Axes = tuple[str | int, ...]


@dataclass(frozen=True, eq=False)
class Operator:
    """An operator that returns a float32 tensor.

    Attributes:
        function: what it computes; has its name.
        inputs: axes of each input, by name.
        output: axes of the output.
        empty: returns the output without its values, from the inputs.
        dtype: of its inputs.
        divisor: heights and widths must be multiples of it.
    """

    function: Callable[..., Tensor]
    inputs: Mapping[str, Axes]
    output: Axes
    empty: Callable[..., Tensor]
    dtype: torch.dtype = torch.float32
    divisor: int = 2

    @property
    def name(self) -> str:
        """Its name in PyTorch, in ONNX and in kernels/openvino/operators.cpp."""
        return self.function.__name__

    def register(self) -> None:
        """Make it known to PyTorch."""
        arguments = ", ".join(f"Tensor {name}" for name in self.inputs)
        _LIBRARY.define(f"{self.name}({arguments}) -> Tensor")
        torch.library.register_fake(f"{NAMESPACE}::{self.name}", self.empty, lib=_LIBRARY)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Call PyTorch's operator; where it does not fit, the function, which then remains."""
        if all(map(self._fits, inputs, self.inputs.values())):
            return self._in_torch()(*inputs)
        return self.function(*inputs)

    def translation(self) -> tuple[Any, Callable[..., Any]]:
        """Return PyTorch's operator and what adds a node to the graph of an onnxscript tracer."""
        formal = onnx.defs.OpSchema.FormalParameter
        schema = onnx.defs.OpSchema(
            self.name,
            NAMESPACE,
            1,
            inputs=[formal(name, f"tensor({_ONNX[self.dtype]})") for name in self.inputs],
            outputs=[formal("output", "tensor(float)")],
        )
        node = onnxscript.values.Op(onnxscript.values.Opset(NAMESPACE, 1), self.name, schema)
        return self._in_torch(), lambda *inputs: node(*inputs)

    def _in_torch(self) -> Any:
        return getattr(getattr(torch.ops, NAMESPACE), self.name).default

    def _fits(self, value: Tensor, axes: Axes) -> bool:
        lengths = zip(value.shape, axes, strict=True)
        return value.dtype == self.dtype and all(
            length == axis for length, axis in lengths if isinstance(axis, int)
        )


_ONNX = {torch.float32: "float", torch.uint8: "uint8"}


OPERATORS = (
    Operator(
        quarter_pixels,
        dict.fromkeys(("image1", "image2"), ("batch", "height", "width", 3)),
        ("batch", 6, "height / 4", "width / 4"),
        lambda image1, _: image1.new_empty(
            (image1.shape[0], 6, image1.shape[1] // 4, image1.shape[2] // 4), dtype=torch.float32
        ),
        dtype=torch.uint8,
        divisor=4,
    ),
    Operator(
        halve_images,
        {"planes": ("batch", 6, "height", "width")},
        ("batch", 6, "height / 2", "width / 2"),
        lambda planes: planes[..., ::2, ::2].clone(),
    ),
    Operator(
        derivatives,
        {"grey": ("batch", 2, "height", "width")},
        ("batch", 4, "height", "width"),
        lambda grey: grey.repeat(1, 2, 1, 1),
    ),
    Operator(
        remaining_motion,
        {
            "flow": ("batch", 2, "height / 2", "width / 2"),
            "first": ("batch", 2, 2, 2, "height / 2", "width / 2"),
            "second": ("batch", 2, "height", "width"),
        },
        ("batch", 5, "height / 2", "width / 2"),
        lambda flow, *_: flow.new_empty((flow.shape[0], 5, *flow.shape[2:])),
    ),
)
for operator in OPERATORS:
    operator.register()


@contextlib.contextmanager
def operators_called() -> Iterator[None]:
    """Let `training.networks` call the operators in place of their functions."""
    with contextlib.ExitStack() as stack:
        for operator in OPERATORS:
            module = sys.modules[operator.function.__module__]
            stack.enter_context(patch.object(module, operator.name, operator))
        yield


def operator_table() -> dict[Any, Callable[..., Any]]:
    """For ``torch.onnx.export(..., custom_translation_table=...)``: a node for each operator."""
    return dict(operator.translation() for operator in OPERATORS)
