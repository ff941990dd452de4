"""Flows of the C library: Python's, bit for bit on the same backend."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper, numpy_helper

import engine
from engine.bundle.manifest import write_manifest
from engine.bundle.shipped import DEFAULT_BUNDLE
from engine.system.cpu import cpu_flags
from tests.support.c_library import BGR8, BGRA8, GREY8, RGB8, RGBA8, Library
from tests.support.cpu import needs_int8
from tests.support.tiny_network import manifest_for, tiny_model

Truth = Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.float64]]


def pair(rng: np.random.Generator, *shape: int) -> list[NDArray[np.uint8]]:
    return [rng.integers(0, 256, (*shape, 3), np.uint8) for _ in range(2)]


@needs_int8
def test_the_default_bundle(library: Library, rng: np.random.Generator) -> None:
    image1, image2 = pair(rng, 70, 100)
    with library.open(DEFAULT_BUNDLE) as opened:
        flow = opened.infer(image1, image2)
        arithmetic = opened.info.arithmetic.decode()
    with engine.load(backend="openvino") as reference:
        np.testing.assert_array_equal(flow, reference.infer(image1, image2))
        assert arithmetic == reference.backend.arithmetic


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(height=st.integers(1, 140), width=st.integers(1, 140), seed=st.integers(0, 99))
def test_sizes(
    library: Library, tiny_bundle: Path, tiny_flow: Truth, height: int, width: int, seed: int
) -> None:
    image1, image2 = pair(np.random.default_rng(seed), height, width)
    with library.open(tiny_bundle) as opened:
        np.testing.assert_array_equal(opened.infer(image1, image2), tiny_flow(image1, image2))


def test_many_sizes(library: Library, tiny_bundle: Path, tiny_flow: Truth, rng) -> None:
    # The third size and those after it share one model with dynamic shapes.
    with library.open(tiny_bundle) as opened:
        for side in (64, 128, 192, 256, 64):
            image1, image2 = pair(rng, side, 64)
            np.testing.assert_array_equal(opened.infer(image1, image2), tiny_flow(image1, image2))


def test_a_size_that_is_used_often(library: Library, tmp_path: Path, rng) -> None:
    """It gets a model of its own, which rounds differently than the shared one: at one use."""
    bundle = rounding_bundle(tmp_path)
    pairs = [pair(rng, side, 64) for side in (64, 128, 192)]
    flows = []
    with library.open(bundle) as opened, engine.load(bundle, backend="openvino") as reference:
        for images in (*pairs, *[pairs[2]] * 34):
            flows.append(opened.infer(*images))
            np.testing.assert_array_equal(flows[-1], reference.infer(*images))
    if "avx512f" not in cpu_flags():
        assert np.any(flows[2] != flows[-1])


def rounding_bundle(folder: Path) -> Path:
    """Write a bundle whose flow depends on whether OpenVINO fuses products and sums.

    On CPUs with AVX2 it does in a model of one size, but not in one of all sizes.
    """
    model = tiny_model()
    (output,) = model.graph.output
    (last,) = (node for node in model.graph.node if output.name in node.output)
    last.output[:] = ["exact"]
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1 / 3), "third"))
    model.graph.node.extend(
        [
            helper.make_node("Mul", ["exact", "third"], ["small"]),
            helper.make_node("Mul", ["exact", "small"], ["square"]),
            helper.make_node("Add", ["square", "small"], [output.name]),
        ]
    )
    onnx.save(model, folder / "model.onnx")
    write_manifest(folder, manifest_for(folder))
    return folder


def test_a_split_bundle(library: Library, tiny_split_bundle: Path, rng) -> None:
    image1, image2 = pair(rng, 50, 90)
    with library.open(tiny_split_bundle) as opened:
        flow = opened.infer(image1, image2)
    with engine.load(tiny_split_bundle, backend="openvino") as reference:
        np.testing.assert_array_equal(flow, reference.infer(image1, image2))


def test_formats(library: Library, tiny_bundle: Path, tiny_flow: Truth, rng) -> None:
    image1, image2 = pair(rng, 30, 40)
    expected = tiny_flow(image1, image2)
    alpha = rng.integers(0, 256, (30, 40, 1), np.uint8)
    with library.open(tiny_bundle) as opened:
        for layout, order, more in (
            (RGB8, [0, 1, 2], []),
            (BGR8, [2, 1, 0], []),
            (RGBA8, [0, 1, 2], [alpha]),
            (BGRA8, [2, 1, 0], [alpha]),
        ):
            first, second = (
                np.ascontiguousarray(np.concatenate([image[..., order], *more], axis=-1))
                for image in (image1, image2)
            )
            np.testing.assert_array_equal(opened.infer(first, second, layout), expected)
        grey1, grey2 = (np.ascontiguousarray(image[..., 0]) for image in (image1, image2))
        expected = tiny_flow(*(grey[..., None].repeat(3, axis=-1) for grey in (grey1, grey2)))
        np.testing.assert_array_equal(opened.infer(grey1, grey2, GREY8), expected)


def test_strides(library: Library, tiny_bundle: Path, tiny_flow: Truth, rng) -> None:
    # The rows of a crop of a larger picture have gaps, those of a flow may.
    image1, image2 = (image[5:35, 7:47] for image in pair(rng, 50, 60))
    with library.open(tiny_bundle) as opened:
        np.testing.assert_array_equal(opened.infer(image1, image2), tiny_flow(image1, image2))


def test_batch(library: Library, tiny_bundle: Path, tiny_flow: Truth, rng) -> None:
    images1, images2 = pair(rng, 3, 40, 70)
    with library.open(tiny_bundle) as opened:
        flows = opened.infer_batch(images1, images2)
    np.testing.assert_array_equal(flows, tiny_flow(images1, images2))


def test_threads_share_an_engine(library: Library, tiny_bundle: Path, tiny_flow: Truth) -> None:
    wrong: list[int] = []

    def infer(seed: int) -> None:
        generator = np.random.default_rng(seed)
        for side in (64, 100, 130, 64, 200):
            image1, image2 = pair(generator, side, 80)
            if not np.array_equal(opened.infer(image1, image2), tiny_flow(image1, image2)):
                wrong.append(seed)

    with library.open(tiny_bundle) as opened:
        threads = [threading.Thread(target=infer, args=(seed,)) for seed in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


def test_closed_while_a_thread_infers(library: Library, tiny_bundle: Path, tiny_flow, rng) -> None:
    image1, image2 = pair(rng, 512, 512)
    opened = library.open(tiny_bundle)
    results = []

    def infer() -> None:
        try:
            results.append(opened.infer(image1, image2))
        except engine.EngineError as error:
            results.append(str(error))

    thread = threading.Thread(target=infer)
    thread.start()
    opened.close()  # before, while or after it infers
    thread.join()
    (result,) = results
    if isinstance(result, str):
        assert result == "this engine is closed. Open another: flow_engine_open(bundle, ...)."
    else:
        np.testing.assert_array_equal(result, tiny_flow(image1, image2))


def test_info(library: Library, tiny_bundle: Path) -> None:
    with library.open(tiny_bundle, backend=b"openvino") as opened:
        info = opened.info
    found = info.network, info.precision, info.backend, info.device, info.divisor
    assert found == (b"tiny", b"fp32", b"openvino", b"cpu", 64)


@pytest.mark.parametrize("backend", [b"openvino", b"onnxruntime"])
def test_options(library: Library, tiny_bundle: Path, tiny_flow, rng, backend: bytes) -> None:
    image1, image2 = pair(rng, 64, 64)
    try:
        opened = library.open(tiny_bundle, backend=backend, threads=1, streams=1)
    except engine.BackendError as error:
        if "is not in this build" not in str(error):
            raise
        pytest.skip("ONNXRUNTIME_ROOT is not set: it names a folder with ONNX Runtime's headers")
    with opened:
        np.testing.assert_array_equal(opened.infer(image1, image2), tiny_flow(image1, image2))
