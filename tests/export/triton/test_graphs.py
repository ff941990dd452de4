"""The graphs for Triton, run by the runtimes that its backends use, against a closed form."""

import dataclasses

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from engine.bundle.manifest import read_manifest, write_manifest
from export.triton.graphs import IMAGE, START, Network, pair_graph, stream_graph
from export.triton.verify import Model, sequence
from tests.support.tiny_network import manifest_for, tiny_model

# One float32 rounding of values up to 128.
TOLERANCE = 1e-5
SIZES = [(1, 64, 64), (2, 64, 128), (1, 61, 93), (3, 1, 1), (1, 65, 63)]
BUNDLES = ["tiny_bundle", "tiny_split_bundle", "tiny_loop_bundle"]


# In two turns it adds what it reads from the graph around it, as RAFT's updates do.
LOOP_BODY = """update (int64 turn, bool go_on, float[n,2,h,w] so_far)
    => (bool goes_on, float[n,2,h,w] next) <float half = {0.5}> {
    goes_on = Identity(go_on)
    part = Mul(blocks, half)
    next = Add(so_far, part)
}"""


@pytest.fixture(scope="module")
def tiny_loop_bundle(tmp_path_factory):
    """The network of ``tiny_bundle``, its last sum computed by a Loop."""
    bundle = tmp_path_factory.mktemp("tiny-loop-fp32")
    model = tiny_model()
    (last_sum,) = (node for node in model.graph.node if list(node.output) == ["sum"])
    body = onnx.parser.parse_graph(LOOP_BODY)
    last_sum.CopyFrom(helper.make_node("Loop", ["turns", "", "pixels"], ["sum"], body=body))
    model.graph.initializer.append(numpy_helper.from_array(np.array(2), "turns"))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, bundle / "model.onnx")
    write_manifest(bundle, manifest_for(bundle))
    return bundle


def network(bundle):
    models = {path.name: onnx.load(path) for path in bundle.glob("*.onnx")}
    return Network(models, read_manifest(bundle))


@pytest.fixture(params=BUNDLES)
def bundle(request):
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_pairs_of_any_size(bundle, tiny_flow, rng, tmp_path, runtime):
    pytest.importorskip(runtime, reason=f"{runtime} is not installed")
    onnx.save(pair_graph(network(bundle)), tmp_path / "model.onnx")
    model = Model(runtime, tmp_path / "model.onnx")
    for shape in SIZES:
        image1, image2 = rng.integers(0, 256, (2, *shape, 3), np.uint8)
        flow = model({"image1": image1, "image2": image2})["flow"]
        assert flow.shape == (*shape, 2)
        np.testing.assert_allclose(flow, tiny_flow(image1, image2), atol=TOLERANCE)


def test_smallest_size(tiny_bundle, tiny_flow, rng):
    whole = network(tiny_bundle)
    manifest = dataclasses.replace(read_manifest(tiny_bundle), smallest=128)
    model = session(pair_graph(Network(whole._models, manifest)))
    images = rng.integers(0, 256, (2, 1, 10, 70, 3), np.uint8)
    flow = model(dict(zip(("image1", "image2"), images, strict=True)))["flow"]
    padded = np.pad(images, [(0, 0), (0, 0), (0, 118), (0, 58), (0, 0)], mode="edge")
    np.testing.assert_allclose(flow, tiny_flow(*padded)[:, :10, :70], atol=TOLERANCE)


def session(graph):
    opened = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in opened.get_outputs()]
    return lambda inputs: dict(zip(names, opened.run(names, inputs), strict=True))


def test_sequences(bundle, tiny_flow, rng):
    frames = network(bundle)
    states = frames.states()
    model = session(stream_graph(frames))
    for size in ((64, 64), (61, 93), (1, 130)):
        images = rng.integers(0, 256, (4, *size, 3), np.uint8)
        flows = [outputs["flow"] for outputs in sequence(model, states, images)]
        assert flows[0].shape == (1, *size, 2)
        assert not flows[0].any()
        for index in (1, 2, 3):
            wanted = tiny_flow(images[index - 1], images[index])
            np.testing.assert_allclose(flows[index][0], wanted, atol=TOLERANCE)


def test_what_is_kept(tiny_bundle, tiny_split_bundle):
    assert [state.name for state in network(tiny_bundle).states()] == ["image"]
    assert [state.name for state in network(tiny_split_bundle).states()] == [
        *("size", "skip", "features")
    ]


# Both are 64x128 when they are padded.
@pytest.mark.parametrize("sizes", [((61, 100), (60, 100)), ((64, 100), (64, 110))])
def test_a_frame_of_another_size_is_an_error(bundle, sizes):
    frames = network(bundle)
    states = frames.states()
    model = session(stream_graph(frames))
    images = [np.zeros((*size, 3), np.uint8) for size in sizes]
    with pytest.raises(Exception, match="Where"):
        [*sequence(model, states, images)]
    assert len([*sequence(model, states, images[1:])]) == 1


def test_sequences_in_one_batch(tiny_bundle, tiny_flow, rng):
    model = session(stream_graph(network(tiny_bundle)))
    before, now = rng.integers(0, 256, (2, 2, 30, 40, 3), np.uint8)
    start = np.array([[True], [False]])
    outputs = model({IMAGE: now, START: start, "previous_image": before})
    assert not outputs["flow"][0].any()
    np.testing.assert_allclose(outputs["flow"][1], tiny_flow(before, now)[1], atol=TOLERANCE)
    np.testing.assert_array_equal(outputs["current_image"], now)


def test_weights_of_features_are_there_once(tiny_split_bundle):
    names = [tensor.name for tensor in pair_graph(network(tiny_split_bundle)).graph.initializer]
    assert len(names) == len({*names})
    assert len([name for name in names if name.startswith("features_")]) == len(
        onnx.load(tiny_split_bundle / "features.onnx").graph.initializer
    )
