"""Run a compiled OpenVINO model from several threads: each caller gets an infer request."""

from types import ModuleType
from typing import Any

import numpy as np

from engine.backends.onnx_graphs import Arrays


class ExecutionSlots:
    """A compiled model with its idle infer requests; a ``Model``.

    Attributes:
        compiled: the ``openvino.CompiledModel``.
    """

    def __init__(self, openvino: ModuleType, compiled: Any) -> None:
        """Use a compiled model, without any infer request yet."""
        self.compiled = compiled
        self._tensor = openvino.Tensor
        outputs = compiled.outputs
        self._names = [output.any_name for output in outputs]
        # Shape and type of each output; empty if they depend on the shapes of the inputs.
        self._static_outputs = {
            output.any_name: (tuple(output.shape), output.element_type.to_dtype())
            for output in outputs
            if all(other.partial_shape.is_static for other in outputs)
        }
        # As many requests exist as threads ever ran at once. list.append and pop are atomic.
        self._idle: list[Any] = []

    def __call__(self, inputs: Arrays) -> Arrays:
        """See ``engine.backends.onnx_graphs.Model``."""
        try:
            request = self._idle.pop()
        except IndexError:
            request = self.compiled.create_infer_request()
        try:
            return self._infer(request, inputs)
        finally:
            # The request would keep the caller's images alive until its next inference.
            request._inputs_data = None
            self._idle.append(request)

    def _infer(self, request: Any, inputs: Arrays) -> Arrays:
        """Read the inputs in place; write outputs of known shape into new arrays in place."""
        if not self._static_outputs:
            results = request.infer(inputs, share_inputs=True)  # copies the outputs
            return {name: results[name] for name in self._names}
        arrays = {
            name: np.empty(shape, dtype) for name, (shape, dtype) in self._static_outputs.items()
        }
        for name, array in arrays.items():
            request.set_tensor(name, self._tensor(array, shared_memory=True))
        request.infer(inputs, share_inputs=True, share_outputs=True)
        return arrays
