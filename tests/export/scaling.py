"""What scaling did to a graph: its outputs, and the weights that it changed."""

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import numpy_helper


def run(model: onnx.ModelProto, *images: NDArray) -> list[NDArray]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return session.run(None, dict(zip(names, images, strict=True)))


def assert_same(expected: list[NDArray], found: list[NDArray]) -> None:
    np.testing.assert_allclose(found[0], expected[0], atol=1e-5 * np.abs(expected[0]).max())


def constants_of(model: onnx.ModelProto) -> dict[str, NDArray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def changed(model: onnx.ModelProto, other: onnx.ModelProto) -> set[str]:
    before, after = constants_of(model), constants_of(other)
    assert before.keys() == after.keys()
    names = (name for name, values in before.items() if not np.array_equal(values, after[name]))
    return {name.removeprefix("network.") for name in names}
