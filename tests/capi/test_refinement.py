"""Refinement of the flow in the C library: numpy's, and chosen by the bundle and by the caller."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from engine.bundle.manifest import read_manifest, write_manifest
from engine.bundle.shipped import DEFAULT_BUNDLE
from engine.errors import BackendError
from engine.images import network_input, padded_size
from engine.refinement import plain
from tests.support.c_library import BGR8, Library
from tests.support.cpu import needs_int8
from tests.support.tiny_network import manifest_for, tiny_model

Images = NDArray[np.uint8]


def moved(rng: np.random.Generator, *shape: int) -> list[Images]:
    """A picture of soft spots, and the same one some pixels to the left."""
    *count, height, width = shape
    spots = rng.uniform(0, 256, (*count, height // 8 + 2, width // 8 + 3, 3))
    picture = spots.repeat(8, axis=-3).repeat(8, axis=-2)
    for axis in (-3, -2):
        for _ in range(2):
            picture = sum(np.roll(picture, shift, axis) for shift in range(-3, 4)) / 7
    picture = picture.astype(np.uint8)
    return [np.ascontiguousarray(picture[..., :height, x : x + width, :]) for x in (0, 2)]


def refined(opened, image1: Images, image2: Images) -> NDArray[np.float32]:
    """What refinement makes of an engine's flow."""
    height, width = image1.shape[:2]
    size = padded_size(height, width, opened.info.divisor, 1)
    padded = [network_input(image, size, bgr=False)[0] for image in (image1, image2)]
    return plain.refined(*padded, opened.infer(*padded))[:height, :width]


@needs_int8
@pytest.mark.parametrize("size", [(64, 128), (70, 101), (131, 65), (1, 1)])
def test_it_is_numpys(library: Library, rng: np.random.Generator, size: tuple[int, int]) -> None:
    image1, image2 = moved(rng, *size)
    with library.open(DEFAULT_BUNDLE, refine=b"variational") as opened:
        found = opened.infer(image1, image2)
    with library.open(DEFAULT_BUNDLE, refine=b"none") as opened:
        without, expected = opened.infer(image1, image2), refined(opened, image1, image2)
    np.testing.assert_allclose(found, expected, atol=0.02)
    assert np.any(found != without) == (size != (1, 1))


def test_batch(library: Library, tiny_bundle: Path, rng: np.random.Generator) -> None:
    images1, images2 = moved(rng, 2, 71, 90)
    with library.open(tiny_bundle, refine=b"variational") as opened:
        flows = opened.infer_batch(images1, images2)
        pairs = zip(images1, images2, strict=True)
        np.testing.assert_array_equal(flows, [opened.infer(*pair) for pair in pairs])
    assert np.any(flows[0] != flows[1])


def test_formats(library: Library, tiny_bundle: Path, rng: np.random.Generator) -> None:
    images = moved(rng, 40, 50)
    flipped = [np.ascontiguousarray(image[..., ::-1]) for image in images]
    with library.open(tiny_bundle, refine=b"variational") as opened:
        np.testing.assert_array_equal(opened.infer(*flipped, BGR8), opened.infer(*images))


def test_threads(library: Library, tiny_bundle: Path, rng: np.random.Generator) -> None:
    """Their number does not change the result."""
    images, flows = moved(rng, 200, 150), []
    for threads in (1, min(4, os.cpu_count() or 1)):
        for streams in {1, threads}:
            options = {"threads": threads, "streams": streams, "refine": b"variational"}
            with library.open(tiny_bundle, **options) as opened:
                flows.append(opened.infer(*images))
    for flow in flows:
        np.testing.assert_array_equal(flow, flows[0])


@pytest.mark.parametrize("of_bundle", ["absent", None, "variational"])
def test_the_bundle_chooses_and_the_caller_may(
    library: Library, tiny_bundle: Path, rng, tmp_path: Path, of_bundle: str | None
) -> None:
    bundle = tiny_bundle
    if of_bundle != "absent":
        bundle = shutil.copytree(tiny_bundle, tmp_path / "bundle")
        write_manifest(bundle, replace(read_manifest(bundle), refine=of_bundle))
        assert '"refine": ' in (bundle / "manifest.json").read_text()
    image1, image2 = moved(rng, 60, 90)
    flows = {}
    for choice in (None, b"none", b"variational"):
        with library.open(bundle, refine=choice) as opened:
            flows[choice] = opened.infer(image1, image2)
    assert np.any(flows[b"none"] != flows[b"variational"])
    own = b"variational" if of_bundle == "variational" else b"none"
    np.testing.assert_array_equal(flows[None], flows[own])


def test_nan_are_the_networks(library: Library, tmp_path: Path) -> None:
    """They are counted before refinement, which would spread them."""
    model = tiny_model()
    last = model.graph.node.pop()
    model.graph.initializer.append(numpy_helper.from_array(np.float32(18), "least"))
    model.graph.node.append(helper.make_node("Sub", [last.input[0], "least"], ["difference"]))
    model.graph.node.append(helper.make_node("Sqrt", ["difference"], ["root"]))
    last.input[0] = "root"
    model.graph.node.append(last)
    onnx.save(model, tmp_path / "model.onnx")
    write_manifest(tmp_path, manifest_for(tmp_path))
    first, second = np.zeros((2, 33, 50, 3), np.uint8)
    second[..., 2] = 255  # a flow of (33, 21)
    second[10:14, 20:23] = 0  # of (17, 9)
    messages = []
    for choice in (b"none", b"variational"):
        with (
            library.open(tmp_path, refine=choice) as opened,
            pytest.raises(BackendError, match="of 12 of 1650 pixels is NaN or infinite") as error,
        ):
            opened.infer(first, second)
        messages.append(str(error.value))
    assert messages[0] == messages[1]
