"""Optional passes: the same model with fewer of them, in each runtime, against NumPy."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnxruntime import InferenceSession

import engine
from engine.backends.base import INPUTS
from export.graph.passes import make_passes_optional, with_all_passes
from tests.export.tiny_passes import expected, model


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("passes", [None, 3, 2, 1])
def test_passes_at_run_time(bundle_with_passes: Path, backend: str, passes: int | None) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 2, 64, 128, 3), np.uint8)
    with engine.load(bundle_with_passes, backend=backend, iterations=passes, threads=1) as opened:
        flow = opened.infer(*images)
    np.testing.assert_allclose(flow, expected(images, passes or 3), atol=1e-4)


def test_all_passes_in_a_row_again() -> None:
    """As TensorRT gets them."""
    optional = model()
    make_passes_optional(optional, 3)
    assert [node.op_type for node in optional.graph.node].count("If") == 2
    with_all_passes(optional)
    onnx.checker.check_model(optional, full_check=True)
    assert {node.op_type for node in optional.graph.node} <= {
        *(node.op_type for node in model().graph.node),
        "GreaterOrEqual",
    }
    images = np.random.default_rng(0).integers(0, 256, (2, 1, 64, 64, 3), np.uint8)
    session = InferenceSession(optional.SerializeToString(), providers=["CPUExecutionProvider"])
    (flow,) = session.run(None, dict(zip(INPUTS, images, strict=True)))
    np.testing.assert_allclose(flow, expected(images, 3), atol=1e-4)


def test_more_passes_than_the_bundle_has(bundle_with_passes: Path) -> None:
    message = r"iterations is 4; expected at most 3, the passes that this bundle of tiny has\."
    with pytest.raises(engine.InputError, match=message):
        engine.load(bundle_with_passes, iterations=4)


def test_passes_share_their_weights() -> None:
    shapes = [tuple(tensor.dims) for tensor in model().graph.initializer]
    assert shapes.count((2, 6, 1, 1)) == 2  # those of the images and of the halved ones
