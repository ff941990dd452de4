"""Optional passes: the same model with fewer of them, in each runtime, against NumPy."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession

import engine
from engine.backends.base import INPUTS
from engine.backends.onnx_graphs import WHOLE
from engine.bundle.manifest import write_manifest
from export.graph.passes import handed_on, make_passes_optional, with_all_passes
from tests.support.tiny_network import manifest_for

WEIGHTS = np.array([[1, -2, 3], [2, 1, -1]], np.float32) / 64
STRIDES = {3: 16, 2: 8, 1: 1}  # of the flow that a pass predicts


def model() -> onnx.ModelProto:
    """Each pass adds 1x1 convolutions of the images' block means to the flow of the one before."""
    nodes = [
        helper.make_node("Cast", ["image1"], ["first"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["image2"], ["second"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["first", "second"], ["difference"]),
        helper.make_node("Transpose", ["difference"], ["planes"], perm=[0, 3, 1, 2]),
    ]
    before = None
    for number, stride in STRIDES.items():
        name, shape = f"flow_of_pass{number}" if number > 1 else "flow_planes", [stride, stride]
        pool = helper.make_node(
            "AveragePool", ["planes"], [f"p{number}"], kernel_shape=shape, strides=shape
        )
        residual = name if before is None else f"r{number}"
        nodes += [pool, helper.make_node("Conv", [f"p{number}", "weights"], [residual])]
        if before is not None:
            larger = helper.make_node("Resize", [before, "", f"s{number}"], [f"l{number}"])
            nodes += [larger, helper.make_node("Add", [residual, f"l{number}"], [name])]
        before = name
    nodes.append(helper.make_node("Transpose", [before], ["flow"], perm=[0, 2, 3, 1]))
    constants = {"weights": WEIGHTS[:, :, None, None], "s2": [1, 1, 2, 2], "s1": [1, 1, 8, 8]}
    image = ["batch", "height", "width"]
    graph = helper.make_graph(
        nodes,
        "passes",
        [
            helper.make_tensor_value_info(f"image{n}", TensorProto.UINT8, [*image, 3])
            for n in (1, 2)
        ],
        [helper.make_tensor_value_info("flow", TensorProto.FLOAT, [*image, 2])],
        [
            numpy_helper.from_array(np.asarray(value, np.float32), name)
            for name, value in constants.items()
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def expected(images: np.ndarray, passes: int) -> np.ndarray:
    image = images[0].astype(float) - images[1]
    flow = np.zeros((*image.shape[:3], 2))
    for stride in [STRIDES[number] for number in range(1, passes + 1)]:
        batch, height, width, _ = image.shape
        blocks = image.reshape(batch, height // stride, stride, width // stride, stride, 3)
        means = blocks.mean((2, 4)) @ WEIGHTS.T
        flow += means.repeat(stride, 1).repeat(stride, 2)
    return flow


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("passes")
    optional = model()
    make_passes_optional(optional, 3)
    onnx.save(optional, folder / WHOLE)
    write_manifest(folder, replace(manifest_for(folder), passes=3))
    return folder


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("passes", [None, 3, 2, 1])
def test_passes_at_run_time(bundle: Path, backend: str, passes: int | None) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 2, 64, 128, 3), np.uint8)
    with engine.load(bundle, backend=backend, iterations=passes, threads=1) as opened:
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


def test_more_passes_than_the_bundle_has(bundle: Path) -> None:
    message = r"iterations is 4, but this tiny has 3 passes; expected 1 to 3, or rebuild"
    with pytest.raises(engine.InputError, match=message):
        engine.load(bundle, iterations=4)


def test_names_and_strides_of_flows_that_passes_hand_on() -> None:
    """A pass reads a flow of 1/8 of its images' resolution."""
    assert handed_on(1) == ()
    assert [(port.name, port.axes[2]) for port in handed_on(3)] == [
        ("flow_of_pass2", "height / 8"),
        ("flow_of_pass3", "height / 16"),
    ]
