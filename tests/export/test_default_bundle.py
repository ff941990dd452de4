"""The bundle inside the package: of the weights that the project ships, right at every size."""

import cv2
import numpy as np
import onnx
import pytest

import engine
from engine.bundle.manifest import read_manifest
from engine.bundle.shipped import DEFAULT_BUNDLE
from engine.bundle.verify import verify_files
from engine.system.files import sha256_of
from engine.types import Image
from training.weights import shipped_weights


def test_it_belongs_to_the_shipped_weights() -> None:
    manifest = read_manifest(DEFAULT_BUNDLE)
    verify_files(DEFAULT_BUNDLE, manifest)
    expected = sha256_of(shipped_weights(manifest.network))
    assert manifest.weights.sha256 == expected
    properties = onnx.load(DEFAULT_BUNDLE / "model.onnx").metadata_props
    assert {item.key: item.value for item in properties}["weights_sha256"] == expected


def test_a_third_size_is_computed_as_the_others() -> None:
    """OpenVINO compiles two sizes each by itself, and one model with dynamic sizes for the rest."""
    with (
        engine.load(DEFAULT_BUNDLE, backend="openvino", threads=1) as tested,
        engine.load(DEFAULT_BUNDLE, backend="onnxruntime", threads=1) as reference,
    ):
        for size in ((64, 64), (64, 128)):
            tested.infer(*moved_texture(*size))
        images = moved_texture(192, 320)
        flow, expected = tested.infer(*images), reference.infer(*images)
    assert np.linalg.norm(flow - expected, axis=-1).mean() < 1.0
    assert np.median(flow[48:-48, 48:-48, 0]) == pytest.approx(20, abs=1)


def moved_texture(height: int, width: int) -> tuple[Image, Image]:
    """Return a texture, and the same 20 px further right: more than one step measures."""
    noise = np.random.default_rng(1).random((height, width + 20, 3))
    wide = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)
    wide = wide.astype(np.uint8)
    return wide[:, 20:].copy(), wide[:, :-20].copy()
