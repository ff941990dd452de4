"""The operators that OpenVINO gets, against the functions of `training.networks` in float64."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.backends.openvino.operators import operators_of
from engine.backends.openvino.runtime import core_of
from training.networks.downsampling import cells, halve_images, quarter_pixels
from training.networks.refinement import derivatives, remaining_motion

openvino = pytest.importorskip("openvino", reason="openvino is an optional extra")
opset = openvino.opset13

Array = NDArray[np.float32]
SIDES = st.integers(1, 24)


def compiled(name: str, shapes: list[list[int]], *, threads: int = 2) -> Any:
    """Compile an operator alone; -1: a dynamic axis."""
    factory, fault = operators_of(openvino)
    assert not fault
    inputs = [opset.parameter(shape, np.float32) for shape in shapes]
    model = openvino.Model([factory.create(name, inputs)], inputs)
    return core_of(openvino).compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": threads})


def computed(name: str, *inputs: Array, **options: int) -> Array:
    return compiled(name, [list(x.shape) for x in inputs], **options)(inputs)[0]


def in_float64(function: Any, *inputs: Array) -> NDArray[np.float64]:
    return function(*(torch.from_numpy(x).double() for x in inputs)).numpy()


def noise(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def measured(seed: int, batch: int, height: int, width: int, motion: float) -> tuple[Array, ...]:
    """Inputs of remaining_motion; ``height`` and ``width`` count cells."""
    first, second = (noise(seed + i, batch, 2, 2 * height, 2 * width) for i in range(2))
    flow = np.float32(motion) * noise(seed + 2, batch, 2, height, width)
    return flow, cells(torch.from_numpy(first)).numpy(), second


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 1000), st.integers(1, 2), SIDES, SIDES, st.sampled_from((0.0, 0.5, 3.0, 50.0))
)
def test_remaining_motion(seed: int, batch: int, height: int, width: int, motion: float) -> None:
    """With small and large motion, into the image and out of it."""
    inputs = measured(seed, batch, height, width, motion)
    found = computed("remaining_motion", *inputs)
    np.testing.assert_allclose(found, in_float64(remaining_motion, *inputs), rtol=1e-3, atol=1e-3)


def test_remaining_motion_is_as_exact_as_in_pytorch() -> None:
    inputs = measured(0, 1, 48, 64, 2.0)
    exact = in_float64(remaining_motion, *inputs)
    found = np.abs(computed("remaining_motion", *inputs) - exact)
    torch_error = np.abs(remaining_motion(*map(torch.from_numpy, inputs)).numpy() - exact)
    assert found.max() <= 2 * torch_error.max()
    assert found.mean() <= 2 * torch_error.mean()


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_and_dynamic_sizes_give_the_same_bits(threads: int) -> None:
    inputs = measured(1, 2, 37, 19, 4.0)
    expected = computed("remaining_motion", *inputs, threads=1)
    dynamic = compiled(
        "remaining_motion",
        [[-1, 2, -1, -1], [-1, 2, 2, 2, -1, -1], [-1, 2, -1, -1]],
        threads=threads,
    )
    np.testing.assert_array_equal(dynamic(inputs)[0], expected)
    smaller = measured(2, 1, 3, 5, 1.0)
    np.testing.assert_array_equal(dynamic(smaller)[0], computed("remaining_motion", *smaller))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38, -1e9])
def test_a_flow_that_is_no_motion_reads_the_border(bad: float) -> None:
    """Not memory outside of the maps; the rest stays as it was."""
    flow, first, second = measured(3, 1, 9, 40, 1.0)
    expected = computed("remaining_motion", flow, first, second)
    flow[0, :, 4, 4] = bad
    found = computed("remaining_motion", flow, first, second)
    np.testing.assert_array_equal(found[..., 7:], expected[..., 7:])
    assert np.isfinite(found).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 3), SIDES, SIDES)
def test_quarter_pixels(seed: int, batch: int, height: int, width: int) -> None:
    """Exactly: sums of 16 numbers of 8 bits have no rounding."""
    shape = (batch, 4 * height, 4 * width, 3)
    images = [np.random.default_rng(seed + i).integers(0, 256, shape, np.uint8) for i in range(2)]
    inputs = [opset.parameter(list(shape), np.uint8) for _ in images]
    factory, _ = operators_of(openvino)
    model = openvino.Model([factory.create("quarter_pixels", inputs)], inputs)
    found = core_of(openvino).compile_model(model, "CPU")(images)[0]
    expected = np.concatenate(
        [
            i.reshape(batch, height, 4, width, 4, 3).mean((2, 4)).transpose(0, 3, 1, 2)
            for i in images
        ],
        axis=1,
    )
    np.testing.assert_array_equal(found, expected)
    of_function = quarter_pixels(*map(torch.from_numpy, images))
    np.testing.assert_allclose(of_function.numpy(), expected, rtol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 2), SIDES, SIDES)
def test_halve_images(seed: int, batch: int, height: int, width: int) -> None:
    planes = noise(seed, batch, 6, 2 * height, 2 * width)
    np.testing.assert_allclose(
        computed("halve_images", planes), in_float64(halve_images, planes), rtol=1e-5, atol=1e-6
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 2), SIDES, SIDES)
def test_derivatives(seed: int, batch: int, height: int, width: int) -> None:
    grey = noise(seed, batch, 2, height, width)
    np.testing.assert_allclose(
        computed("derivatives", grey), in_float64(derivatives, grey), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("halve_images", [[1, 5, 8, 8]]),
        ("halve_images", [[6, 8, 8]]),
        ("halve_images", [[1, 6, 8, 7]]),
        ("halve_images", []),
        ("derivatives", [[1, 2, 8, 8], [1, 2, 8, 8]]),
        ("remaining_motion", [[1, 2, 8, 8], [1, 2, 2, 2, 8, 8], [1, 2, 16, 8]]),
        ("remaining_motion", [[1, 2, 8, 8], [1, 2, 8, 8]]),
    ],
)
def test_inputs_that_do_not_fit_are_refused(name: str, shapes: list[list[int]]) -> None:
    with pytest.raises(RuntimeError, match="expected"):
        compiled(name, shapes)


def test_other_types_are_refused() -> None:
    factory, _ = operators_of(openvino)
    with pytest.raises(RuntimeError, match="expected f32"):
        factory.create("derivatives", [opset.parameter([1, 2, 8, 8], np.float16)])
    with pytest.raises(RuntimeError, match="expected u8"):
        factory.create("quarter_pixels", [opset.parameter([1, 8, 8, 3], np.float32)] * 2)


@pytest.mark.parametrize("shapes", [[[1, 8, 8, 3]], [[1, 8, 8, 4]] * 2, [[1, 8, 6, 3]] * 2, []])
def test_images_that_do_not_fit_are_refused(shapes: list[list[int]]) -> None:
    factory, _ = operators_of(openvino)
    with pytest.raises(RuntimeError, match="expected"):
        factory.create("quarter_pixels", [opset.parameter(shape, np.uint8) for shape in shapes])


def test_sizes_that_do_not_fit_are_refused_when_they_come() -> None:
    dynamic = compiled(
        "remaining_motion", [[-1, 2, -1, -1], [-1, 2, 2, 2, -1, -1], [-1, 2, -1, -1]]
    )
    flow, first, second = measured(0, 1, 8, 8, 1.0)
    with pytest.raises(RuntimeError, match="expected"):
        dynamic((flow, first, second[..., :-2]))
