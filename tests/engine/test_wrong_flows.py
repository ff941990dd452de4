"""An engine hands out no flow of another shape or type, and none that is not finite."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import engine
from engine import FlowEngine
from engine.bundle.manifest import read_manifest, write_manifest
from engine.errors import BackendError
from tests.support.fake_backend import FakeBackend
from tests.support.tiny_network import manifest_for, tiny_model, tiny_split_models

IMAGES = np.zeros((3, 60, 96, 3), np.uint8)

CALLS = {
    "infer": lambda engine: engine.infer(IMAGES[0], IMAGES[1]),
    "a batch": lambda engine: engine.infer(IMAGES[:2], IMAGES[1:]),
    "backward": lambda engine: engine.infer(IMAGES[0], IMAGES[1], backward=True),
    "infer_async": lambda engine: engine.infer_async(IMAGES[0], IMAGES[1]).result(),
    "infer_many": lambda engine: list(engine.infer_many([IMAGES[:2]])),
    "stream": lambda engine: list(engine.stream(IMAGES)),
    "stream backward": lambda engine: list(engine.stream(IMAGES, backward=True)),
}


def of_shape(shape):
    return lambda first, second: np.zeros(shape, np.float32)


def of_type(dtype):
    return lambda first, second: np.zeros((*first.shape[:3], 2), dtype)


def with_value(value):
    def run(first, second):
        flow = np.zeros((*first.shape[:3], 2), np.float32)
        flow[-1, 59, 95, 1] = value  # the last pixel of the image
        return flow

    return run


@pytest.fixture
def fake(tiny_bundle):
    with FlowEngine(read_manifest(tiny_bundle), FakeBackend()) as opened:
        yield opened


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("run", "message"),
    [
        (of_shape((1, 0, 128, 2)), r"returns float32 \(1, 0, 128, 2\) for images of \(., 64, 128"),
        (of_shape((1, 64, 128, 3)), r"returns float32 \(1, 64, 128, 3\)"),
        (of_shape((64, 128, 2)), r"returns float32 \(64, 128, 2\)"),
        (of_type(np.int8), r"returns int8 .*; expected float32 \(., 64, 128, 2\)\. .* again\.$"),
        (of_type(np.float64), r"returns float64 "),
        (with_value(np.nan), r"of 1 of \d+ pixels is NaN or infinite; expected finite values"),
        (with_value(-np.inf), r"of 1 of \d+ pixels is NaN or infinite"),
    ],
)
def test_a_wrong_flow_is_an_error_of_every_call(fake, call, run, message):
    fake.backend.run = run
    with pytest.raises(BackendError, match=message):
        CALLS[call](fake)


def test_what_is_cropped_away_may_be_anything(fake):
    def run(first, second):
        flow = np.full((*first.shape[:3], 2), np.nan, np.float32)
        flow[:, :60, :96] = np.finfo(np.float32).max
        return flow

    fake.backend.run = run
    assert (fake.infer(IMAGES[0], IMAGES[1]) == np.finfo(np.float32).max).all()


def cut(model: onnx.ModelProto) -> onnx.ModelProto:
    """The first eight rows of the flow."""
    for node in model.graph.node:
        node.output[:] = ["whole" if name == "flow" else name for name in node.output]
    bounds = [("start", 0), ("end", 8), ("axis", 1)]
    for name, value in bounds:
        model.graph.initializer.append(numpy_helper.from_array(np.array([value]), name))
    model.graph.node.append(
        helper.make_node("Slice", ["whole", *(name for name, _ in bounds)], ["flow"])
    )
    model.graph.output[0].type.tensor_type.ClearField("shape")
    return model


@pytest.fixture(params=["one graph", "two graphs"])
def cutting(request, tmp_path) -> Path:
    if request.param == "one graph":
        onnx.save(cut(tiny_model()), tmp_path / "model.onnx")
    else:
        features, match = tiny_split_models()
        onnx.save(features, tmp_path / "features.onnx")
        onnx.save(cut(match), tmp_path / "match.onnx")
    write_manifest(tmp_path, manifest_for(tmp_path))
    return tmp_path


@pytest.mark.parametrize("tile", [None, 256])
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_graph_of_another_flow(cutting, backend, tile):
    """Tiles are blended, and could hide what the graph returned of each."""
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    images = np.zeros((2, 300 if tile else 60, 96, 3), np.uint8)
    with (
        engine.load(cutting, backend=backend, threads=1, tile=tile) as opened,
        pytest.raises(BackendError, match=r"the model returns float32 \(1, 8, 128, 2\)"),
    ):
        opened.infer(*images)
