"""The runner of PyTorch, with random weights of the slim network at the smallest size."""

import numpy as np
import pytest

from bench.harness.worker import Job, open_runner
from engine.errors import BackendError

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from bench.runners.torch import deployable, weights_for  # noqa: E402
from training.networks import build_network  # noqa: E402
from training.weights import load_weights  # noqa: E402

NETWORK = "flownets_slim"


def refuse(network):
    raise FileNotFoundError(network)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.runners.torch.shipped_weights", refuse)
        return weights_for(NETWORK, given=None, cache=tmp_path_factory.mktemp("weights"))


def test_random_weights_stay_the_same_file_until_the_network_changes(weights, monkeypatch):
    monkeypatch.setattr("bench.runners.torch.shipped_weights", refuse)
    before = weights.read_bytes()
    assert weights_for(NETWORK, given=None, cache=weights.parent) == weights
    assert weights.read_bytes() == before
    random = build_network(NETWORK, seed=1)
    with monkeypatch.context() as patch:
        patch.setattr("bench.runners.torch.build_network", lambda name, seed: random)
        weights_for(NETWORK, given=None, cache=weights.parent)
    found = load_weights(weights).state_dict
    assert all(torch.equal(found[name], value) for name, value in random.state_dict().items())
    weights.write_bytes(before)


def test_random_weights_are_marked(weights):
    assert load_weights(weights).metadata["source"].startswith("seeded random")
    assert weights_for(NETWORK, given=weights, cache=weights.parent / "unused") == weights


def test_eager_pads_and_crops(weights, tmp_path, rng):
    job = Job(
        factory="bench.runners.torch:open_eager",
        network=NETWORK,
        backend="pytorch-eager",
        precision="fp32",
        batch=2,
        threads=1,
        pairs="",
        weights=str(weights),
    )
    runner = open_runner(job)
    image1, image2 = rng.integers(0, 256, (2, 2, 50, 70, 3), np.uint8)
    flow = runner.run(image1, image2)
    padded = (
        torch.from_numpy(np.pad(image, ((0, 0), (0, 14), (0, 58), (0, 0)), mode="edge"))
        for image in (image1, image2)
    )
    with torch.no_grad():
        expected = deployable(NETWORK, weights, "fp32")(*padded)[:, :50, :70].numpy()
    assert flow.dtype == np.float32
    np.testing.assert_allclose(flow, expected, atol=1e-5)
    assert (runner.device, runner.device_ms()) == ("cpu", None)
    assert torch.get_num_threads() == 1
    runner.close()


def test_half_precision_is_in_the_weights(weights, rng):
    """Otherwise PyTorch converts them for every pair."""
    images = (torch.from_numpy(rng.integers(0, 256, (1, 64, 128, 3), np.uint8)) for _ in range(2))
    one, two = images
    whole, half = (deployable(NETWORK, weights, precision) for precision in ("fp32", "fp16"))
    assert half.network.network.conv1[0].weight.dtype == torch.float16
    with torch.inference_mode():
        flow, expected = half(one, two), whole(one, two)
    assert flow.dtype == torch.float32
    difference = torch.linalg.vector_norm(flow - expected, dim=-1).mean()
    assert 0 < difference < 0.02


@pytest.mark.parametrize("name", ["open_cuda", "open_cuda_compiled"])
def test_cuda_rows_report_what_is_missing(weights, name):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU that torch can use")
    job = Job(
        factory=f"bench.runners.torch:{name}",
        network=NETWORK,
        backend=name,
        precision="fp16",
        batch=1,
        threads=1,
        pairs="",
        weights=str(weights),
    )
    with pytest.raises(BackendError, match="sees no CUDA device; install a CUDA build of it"):
        open_runner(job)
