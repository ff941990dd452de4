"""float16 graphs as float32: the same results as OpenVINO's own conversion."""

from typing import Any

import numpy as np
import openvino
from openvino import opset13 as ops

from engine.backends.openvino.precision import in_float32
from engine.backends.openvino.runtime import core_of

SETTINGS = {"INFERENCE_PRECISION_HINT": "f32"}


def half_model() -> Any:
    """One float16 input, one uint8 input that is converted, a convolution, a float32 output."""
    generator = np.random.default_rng(0)
    maps = ops.parameter([1, 3, 8, 8], np.float16, name="maps")
    image = ops.parameter([1, 3, 8, 8], np.uint8, name="image")
    weights = ops.constant(generator.normal(size=(4, 3, 3, 3)).astype(np.float16))
    both = ops.add(maps, ops.convert(image, "f16"))
    result = ops.convolution(both, weights, [1, 1], [1, 1], [1, 1], [1, 1])
    return openvino.Model([ops.convert(result, "f32"), both], [maps, image])


def outputs(model: Any) -> list[np.ndarray]:
    generator = np.random.default_rng(1)
    maps = generator.normal(size=(1, 3, 8, 8)).astype(np.float16)
    image = generator.integers(0, 256, (1, 3, 8, 8), np.uint8)
    maps = maps.astype(model.inputs[0].get_element_type().to_dtype())
    compiled = core_of(openvino).compile_model(model, "CPU", SETTINGS)
    return list(compiled([maps, image]).values())


def types(model: Any) -> set[str]:
    return {
        output.get_element_type().get_type_name()
        for node in model.get_ops()
        for output in node.outputs()
    }


def test_no_float16_is_left_and_the_results_are_the_same() -> None:
    expected = outputs(half_model())
    model = in_float32(openvino, half_model())
    assert "f16" not in types(model)
    flow, both = outputs(model)
    np.testing.assert_array_equal(flow, expected[0])
    # Between two graphs nothing is rounded to float16 any more.
    np.testing.assert_allclose(both, expected[1], rtol=2**-11)


def test_float32_stays() -> None:
    image = ops.parameter([1], np.float32)
    model = openvino.Model([ops.relu(image)], [image])
    before: list[Any] = [node.get_name() for node in model.get_ordered_ops()]
    assert [node.get_name() for node in in_float32(openvino, model).get_ordered_ops()] == before
