"""This project's operators in the C library: where a file's metadata name them, as in Python."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

import engine
from engine.backends.onnx_graphs import OPERATORS
from engine.backends.openvino.operators import with_operators
from engine.backends.openvino.runtime import core_of, import_openvino
from engine.bundle.manifest import write_manifest
from engine.errors import BackendError
from tests.support.c_library import Library
from tests.support.tiny_network import manifest_for

# In place of each operator is another function with a result of its shape, which tells them apart.
GRAPH = """<ir_version: 9, opset_import: ["": 18]>
operators (uint8[n,h,w,3] image1, uint8[n,h,w,3] image2) => (float[n,h,w,2] flow) {
    images = Concat <axis=-1>(image1, image2)
    values = Cast <to=1>(images)
    planes = Transpose <perm=[0, 3, 1, 2]>(values)
    halved = MaxPool <kernel_shape=[2, 2], strides=[2, 2]>(planes)
    grey = Conv <group=2>(halved, luma)
    maps = Concat <axis=1>(grey, grey)
    along_x, second = Split <axis=1, num_outputs=2>(maps)
    cells = SpaceToDepth <blocksize=2>(along_x)
    size = Shape <start=2>(cells)
    shape = Concat <axis=0>(axes, size)
    first = Reshape(cells, shape)
    quartered = MaxPool <kernel_shape=[2, 2], strides=[2, 2]>(halved)
    moved = Conv <group=2>(quartered, luma)
    of_first = ReduceMean <keepdims=0>(first, inner)
    of_second = AveragePool <kernel_shape=[2, 2], strides=[2, 2]>(second)
    all = Concat <axis=1>(moved, of_first, of_second)
    measured = Conv(all, as_many)
    motion = Conv(measured, to_motion)
    large = Resize <mode="nearest">(motion, "", scales)
    flow = Transpose <perm=[0, 2, 3, 1]>(large)
}"""
LINES = [
    "halve_images planes halved",
    "halve_images halved quartered",
    "derivatives grey maps",
    "remaining_motion moved first second measured",
]


def bundle_with(folder: Path, lines: Sequence[str]) -> Path:
    """Write a bundle of the graph with these lines in its metadata."""
    random = np.random.default_rng(5)
    constants = {
        "luma": random.uniform(0, 1 / 255, (2, 3, 1, 1)).astype(np.float32),
        "axes": np.array([0, 2, 2, 2]),
        "inner": np.array([2, 3]),
        "as_many": random.normal(size=(5, 6, 1, 1)).astype(np.float32),
        "to_motion": random.normal(size=(2, 5, 1, 1)).astype(np.float32),
        "scales": np.array([1, 1, 4, 4], np.float32),
    }
    model = onnx.parser.parse_model(GRAPH)
    for name, value in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    onnx.checker.check_model(model, full_check=True)
    onnx.helper.set_model_props(model, {OPERATORS: "\n".join(lines)})
    folder.mkdir()
    onnx.save(model, folder / "model.onnx")
    write_manifest(folder, manifest_for(folder))
    return folder


def flows_of(
    library: Library, bundle: Path, pairs: Sequence[Sequence[NDArray[np.uint8]]]
) -> list[NDArray[np.float32]]:
    """The library's flows, which are Python's bit for bit."""
    with library.open(bundle, backend=b"openvino") as opened:
        flows = [opened.infer(*pair) for pair in pairs]
        arithmetic = opened.info.arithmetic.decode()
    with engine.load(bundle, backend="openvino") as reference:
        for pair, flow in zip(pairs, flows, strict=True):
            np.testing.assert_array_equal(flow, reference.infer(*pair))
        assert arithmetic == reference.backend.arithmetic
    return flows


@pytest.fixture
def pairs(rng: np.random.Generator) -> list[list[NDArray[np.uint8]]]:
    """Of three sizes, the last of which gets a model with dynamic shapes."""
    sizes = (64, 64), (70, 200), (130, 90)
    return [[rng.integers(0, 256, (*size, 3), np.uint8) for _ in range(2)] for size in sizes]


def test_their_flow_is_pythons(library: Library, tmp_path: Path, pairs) -> None:
    bundle = bundle_with(tmp_path / "bundle", LINES)
    openvino = import_openvino()
    model, fault = with_operators(openvino, core_of(openvino).read_model(bundle / "model.onnx"))
    kinds = {node.get_type_name() for node in model.get_ops()}
    assert not fault
    assert {line.split()[0] for line in LINES} <= kinds
    found = flows_of(library, bundle, pairs)
    without = flows_of(library, bundle_with(tmp_path / "without", []), pairs)
    for flow, other in zip(found, without, strict=True):
        assert np.abs(flow - other).mean() > 0.1


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_each_of_them_counts(library: Library, tmp_path: Path, pairs, count: int) -> None:
    fewer, more = (
        flows_of(library, bundle_with(tmp_path / str(n), LINES[:n]), pairs[:1])[0]
        for n in (count - 1, count)
    )
    assert np.any(fewer != more)


@pytest.mark.parametrize(
    "line", ["halve_images left_out halved", "derivatives grey left_out", "of_later grey maps"]
)
def test_what_is_not_here_is_left_out(library: Library, tmp_path: Path, pairs, line: str) -> None:
    """Tensors of a pass that was left out, and operators of a later version."""
    found = flows_of(library, bundle_with(tmp_path / "bundle", [line, *LINES]), pairs[:1])
    expected = flows_of(library, bundle_with(tmp_path / "expected", LINES), pairs[:1])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("halve_images", "two"),
        ("", "two"),
        (" \t", "two"),
        ("halve_images planes", "expected"),  # it reads nothing
        ("halve_images planes planes halved", "expected"),
        ("derivatives planes maps", "expected"),  # of two planes
        ("remaining_motion motion first second measured", "Loop"),  # it reads what it computes
        ("halve_images planes image1", "Loop"),
    ],
)
def test_metadata_that_do_not_fit_are_an_error(
    library: Library, tmp_path: Path, line: str, message: str
) -> None:
    """Not a crash, and not a loop without end."""
    bundle = bundle_with(tmp_path / "bundle", [*LINES, line, LINES[0]])
    with pytest.raises(BackendError, match="cannot load") as python:
        engine.load(bundle, backend="openvino")
    with pytest.raises(BackendError, match=f"cannot load .*{message}") as c:
        library.open(bundle, backend=b"openvino")
    start = (
        f"openvino {import_openvino().__version__.split('-')[0]} cannot load {bundle}/model.onnx: "
    )
    assert str(python.value).startswith(start)
    assert str(c.value).startswith(start)


def test_inputs_that_do_not_fit_at_a_size(library: Library, tmp_path: Path, pairs) -> None:
    """Without a size, any two planes could be the second image's."""
    line = "remaining_motion moved first moved measured"
    bundle = bundle_with(tmp_path / "bundle", [*LINES, line])
    with (
        library.open(bundle, backend=b"openvino") as opened,
        pytest.raises(BackendError, match=r"cannot load .*expected f32 \[1,2,32,32\]"),
    ):
        opened.infer(*pairs[0])
