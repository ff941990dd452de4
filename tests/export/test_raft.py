"""RAFT in a split bundle, against PyTorch: iterations at run time, warm start, refusals."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import engine
from engine.backends.onnx_graphs import CpuBackend, OneGraph
from engine.backends.tensorrt.backend import TensorRTBackend
from engine.bundle.manifest import read_manifest
from engine.cli.main import main
from engine.engine import FlowEngine
from engine.images import write_image
from engine.recurrence import carried_forward
from export import build_engine
from export.graph.recurrent import graphs_of, unrolled
from export.triton import __main__ as triton
from tests.export.tiny import assert_one_line
from tests.support.reference import reference_images, with_reference_weights
from training.networks.raft import RAFT
from training.networks.registry import network_without_weights
from training.normalise import MinusOneToOne
from training.weights import METADATA_KEYS, save_weights

ITERATIONS = 2
# Of flows of ten pixels.
TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def network() -> RAFT:
    network = with_reference_weights(network_without_weights("raft_small"))
    assert isinstance(network, RAFT)
    return network


@pytest.fixture(scope="module")
def weights(network: RAFT, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("raft") / "raft_small.safetensors"
    own = {"network": "raft_small", "normalisation": "minus_one_to_one", "epe": "{}"}
    save_weights(path, network.state_dict(), dict.fromkeys(METADATA_KEYS, "none") | own)
    return path


@pytest.fixture(scope="module")
def bundle(weights: Path) -> Path:
    folder = weights.parent / "bundle"
    sizes = ("--size", "128x128", "--max-size", "136x160", "--max-batch", "2")
    arguments = ("--iterations", str(ITERATIONS), "--split", "--weights", str(weights), *sizes)
    targets = ("--targets", "onnxruntime,openvino")
    assert build_engine.main([*arguments, *targets, "-o", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def flow_engine(request: pytest.FixtureRequest, bundle: Path) -> Iterator[FlowEngine]:
    with engine.load(bundle, backend=request.param, threads=1) as opened:
        yield opened


def pytorch_flow(
    network: RAFT,
    *images: np.ndarray,
    iterations: int = ITERATIONS,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """Return the flow of images whose sides are multiples of 8, (H, W, 2)."""
    planes = (torch.from_numpy(image).permute(2, 0, 1)[None].float() for image in images)
    first = None if start is None else torch.from_numpy(start).permute(0, 3, 1, 2)
    network.iterations = iterations
    with torch.inference_mode():
        (flow,) = network(*MinusOneToOne()(*planes), first)
    return flow[0].permute(1, 2, 0).numpy()


def test_manifest_states_the_updates(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    assert manifest.recurrence is not None
    assert (manifest.recurrence.iterations, manifest.recurrence.lookup) == (ITERATIONS, "volume")
    assert (manifest.divisor, manifest.smallest) == (8, 128)
    assert [parity.status for parity in manifest.parity] == ["ok", "ok"]


def test_flow_of_a_new_size(flow_engine: FlowEngine, network: RAFT) -> None:
    images = reference_images(136, 184)
    expected = pytorch_flow(network, *images)
    np.testing.assert_allclose(flow_engine.infer(*images), expected, atol=TOLERANCE)


def test_small_images_are_padded_to_128(flow_engine: FlowEngine, network: RAFT) -> None:
    images = reference_images(40, 61)
    larger = (np.pad(image, ((0, 88), (0, 67), (0, 0)), mode="edge") for image in images)
    expected = pytorch_flow(network, *larger)[:40, :61]
    np.testing.assert_allclose(flow_engine.infer(*images), expected, atol=TOLERANCE)


def test_iterations_at_run_time(flow_engine: FlowEngine, bundle: Path, network: RAFT) -> None:
    images = reference_images(136, 184)
    expected = pytorch_flow(network, *images, iterations=3)
    with engine.load(bundle, backend=flow_engine.backend.name, iterations=3) as opened:
        np.testing.assert_allclose(opened.infer(*images), expected, atol=TOLERANCE)


def test_warm_start(flow_engine: FlowEngine, network: RAFT) -> None:
    """The second pair starts from the first one's flow at 1/8, carried forward."""
    first, second = reference_images(136, 184)
    frames = [first, second, first]
    expected = [pytorch_flow(network, first, second)]
    # RAFT small upsamples corners on corners: every 8th pixel is not the coarse flow itself.
    _, coarse = flow_engine.backend.recurrent.run_from(
        None, *(flow_engine.backend.prepare(image[None]) for image in (first, second))
    )
    start = carried_forward(coarse)
    expected.append(pytorch_flow(network, second, first, start=start))
    flows = list(flow_engine.stream(frames, warm_start=True))
    np.testing.assert_allclose(flows, expected, atol=TOLERANCE)
    cold = list(flow_engine.stream(frames))
    np.testing.assert_allclose(cold[0], flows[0], atol=TOLERANCE)
    assert np.abs(cold[1] - flows[1]).max() > 1


def test_command_line(flow_engine: FlowEngine, bundle: Path, tmp_path: Path) -> None:
    for name, image in zip("ab", reference_images(136, 184), strict=True):
        write_image(tmp_path / f"{name}.png", image)
    options = ["--bundle", str(bundle), "--backend", flow_engine.backend.name]
    command = ["folder", str(tmp_path), "--flow", str(tmp_path / "flow"), *options]
    assert main([*command, "--iterations", "3", "--warm-start", "--format", ".npy"]) == 0
    with engine.load(bundle, backend=flow_engine.backend.name, iterations=3) as opened:
        expected = opened.infer(*reference_images(136, 184))
    (path,) = (tmp_path / "flow").iterdir()
    np.testing.assert_allclose(np.load(path), expected, atol=1e-3)


def test_volume_that_does_not_fit(flow_engine: FlowEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.zeros((256, 256, 3), np.uint8)
    monkeypatch.setattr("engine.recurrence.available_bytes", lambda: 2**20)
    message = (
        r"raft_small: the correlations of 1 pair\(s\) of 256x256 need 0\.0 GiB of memory; 0\.0"
    )
    with pytest.raises(engine.InputError, match=message):
        flow_engine.infer(image, image)
    huge = np.zeros((2160, 3840, 3), np.uint8)  # 129,600 pixels at 1/8, with four levels
    with pytest.raises(engine.InputError, match=r"need 83\.1 GiB .*--lookup on_the_fly"):
        flow_engine.infer(huge, huge)


@pytest.mark.parametrize("iterations", [0, -1, 2.0, True])
def test_bad_iterations_at_run_time(bundle: Path, iterations: object) -> None:
    with pytest.raises(engine.InputError, match=r"iterations is .*; expected a number of updates"):
        engine.load(bundle, iterations=iterations)  # type: ignore[arg-type]


def test_other_networks_have_no_iterations_and_no_warm_start(tiny_bundle: Path) -> None:
    with pytest.raises(engine.InputError, match="has no repeated updates, only RAFT and"):
        engine.load(tiny_bundle, iterations=2)
    with (
        engine.load(tiny_bundle) as opened,
        pytest.raises(engine.BackendError, match="only RAFT does"),
    ):
        opened.stream([], warm_start=True)


def test_warm_start_needs_a_split_bundle(flow_engine: FlowEngine) -> None:
    backend = CpuBackend()
    backend.name, backend.graphs = flow_engine.backend.name, OneGraph(lambda _: {})
    whole = FlowEngine(flow_engine.manifest, backend)
    with pytest.raises(engine.BackendError, match="build a bundle with --split"):
        whole.stream([], warm_start=True)


def test_triton_gets_a_bundle_in_one_graph(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whose Loop `tests.export.triton.test_graphs` has in small."""
    assert triton.main([str(bundle), "-o", str(tmp_path / "models")]) == 2
    assert_one_line(capsys, "is raft_small in two graphs, .* build it without --split")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--iterations", "0"), "--iterations"),
        (("--precision", "int8"), "repeats its layers in a loop"),
        (("--min-size", "64x64"), "multiples of 8, at least 128; the next is 128x128"),
    ],
)
def test_builds_that_are_refused(
    weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    output = tmp_path / "bundle"
    assert build_engine.main(["--weights", str(weights), *arguments, "-o", str(output)]) == 2
    assert message in capsys.readouterr().err
    assert not output.exists()


def test_carried_forward_by_hand() -> None:
    """One vector moves two pixels to the right; those of the first row and column do not count."""
    flow = np.zeros((1, 4, 5, 2), np.float32)
    flow[0, 1, 1] = 2, 0
    flow[0, 2:, :] = 100  # leaves the image
    flow[0, 1, 2:] = 100
    moved = carried_forward(flow)
    assert (moved == (2, 0)).all()  # the only vector left
    assert not carried_forward(np.zeros((1, 1, 1, 2), np.float32)).any()


def test_carried_forward_takes_the_nearest() -> None:
    rng = np.random.default_rng(0)
    flow = rng.normal(0, 3, (2, 13, 17, 2)).astype(np.float32)
    moved = carried_forward(flow)
    for one, found in zip(flow, moved, strict=True):
        rows, columns = np.mgrid[:13, :17]
        x, y = columns + one[..., 0], rows + one[..., 1]
        inside = (x > 0) & (x < 17) & (y > 0) & (y < 13)
        distances = (x[inside] - columns[..., None]) ** 2 + (y[inside] - rows[..., None]) ** 2
        np.testing.assert_array_equal(found, one[inside][distances.argmin(axis=-1)])


def test_written_out_updates_compute_the_same(bundle: Path) -> None:
    """TensorRT's form of the graph, in ONNX Runtime: the same operators in the same order."""
    model = onnx.load(bundle / "match.onnx")
    rng = np.random.default_rng(0)
    shape = (1, 17, 19)
    channels = {
        value.name: value.type.tensor_type.shape.dim[3].dim_value for value in model.graph.input
    }
    inputs = {
        name: rng.normal(0, 1, (*shape, count)).astype(np.float32)
        for name, count in channels.items()
    }
    flows = []
    for form in (model, unrolled(model)):
        session = onnxruntime.InferenceSession(
            form.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        flows.append(session.run(["flow"], inputs)[0])
    assert [len(graphs_of(form)) for form in (model, unrolled(model))] == [2, 1]
    np.testing.assert_allclose(flows[1], flows[0], atol=TOLERANCE)


def test_tensorrt_plan_has_the_number_of_its_build(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    files = {"model.plan": replace(manifest.files["match.onnx"], role="plan")}
    with pytest.raises(engine.BackendError, match="has 2 updates, which cannot be changed"):
        TensorRTBackend(
            bundle,
            replace(manifest, files=files),
            device=0,
            threads=None,
            streams=1,
            iterations=5,
        )
