from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import engine
from engine.data.pair import Pair
from engine.errors import (
    BackendError,
    BackendNotInstalledError,
    HardwareMissingError,
    PlanMismatchError,
)
from export.graph.deployable import Deployable, reference_flow
from export.verify.parity import (
    Deviation,
    deviation_between,
    excesses,
    pair_epe,
    verify_backend,
)
from training.networks.entry import Tolerance

TOLERANCE = Tolerance(mean_px=0.1, max_px=1.0, relative=0.01)


def test_reference_pads_by_repeating_the_edge_and_crops(deployable: Deployable) -> None:
    generator = np.random.default_rng(0)
    image1, image2 = generator.integers(0, 256, (2, 1, 70, 130, 3), dtype=np.uint8)
    margin = ((0, 0), (0, 58), (0, 62), (0, 0))
    padded = [torch.from_numpy(np.pad(image, margin, mode="edge")) for image in (image1, image2)]
    with torch.inference_mode():
        expected = deployable(*padded).numpy()[:, :70, :130]
    np.testing.assert_array_equal(
        reference_flow(deployable, Pair.without_flow("", image1, image2)), expected
    )


def test_deviation_is_the_distance_between_vectors() -> None:
    reference = np.full((1, 2, 2, 2), (6, 8), np.float32)
    flow = reference.copy()
    flow[0, 0, 0] += (3, 4)
    assert deviation_between(flow, reference) == Deviation(mean_px=1.25, max_px=5, relative=0.125)


def test_epe_of_a_pair_ignores_unknown_pixels() -> None:
    truth = np.zeros((1, 1, 3, 2), np.float32)
    truth[0, 0, 2] = np.nan
    flow = np.asarray([[[(3, 4), (0, 0), (9, 9)]]], np.float32)
    assert pair_epe(flow, pair_with(truth)) == pytest.approx(2.5)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_epe_of_a_flow_that_is_not_finite_is_not_finite(value: float) -> None:
    truth = np.zeros((1, 1, 3, 2), np.float32)
    flow = truth.copy()
    flow[0, 0, 1, 0] = value
    assert not np.isfinite(pair_epe(flow, pair_with(truth)))


def pair_with(truth: NDArray[np.float32]) -> Pair:
    images = np.zeros((*truth.shape[:-1], 3), np.uint8)
    return Pair("", images, images, truth)


def test_every_limit_that_is_passed_is_said() -> None:
    assert not list(excesses(Deviation(0.1, 1.0, 0.01), TOLERANCE))
    assert list(excesses(Deviation(0.25, 1.0, 0.02), TOLERANCE)) == [
        "mean distance to fp32 PyTorch is 0.25 px, expected at most 0.1 px",
        "relative distance to fp32 PyTorch is 0.02, expected at most 0.01",
    ]
    assert len(list(excesses(Deviation(np.nan, np.nan, np.nan), TOLERANCE))) == 3


@pytest.mark.parametrize(
    ("backend", "error", "fails"),
    [
        ("tensorrt", HardwareMissingError("no GPU"), False),
        ("tensorrt", BackendError("wrong tensor names"), True),
        ("tensorrt", BackendNotInstalledError("no PyCUDA"), False),
        ("tensorrt", PlanMismatchError("another version"), True),
        ("onnxruntime", BackendError("cannot read the model"), True),
    ],
)
def test_only_missing_hardware_excuses_a_backend(
    monkeypatch: pytest.MonkeyPatch, backend: str, error: BackendError, fails: bool
) -> None:
    def load(*_args: object, **_kwargs: object) -> None:
        raise error

    monkeypatch.setattr(engine, "load", load)
    parity, failures = verify_backend(Path(), backend, cases=(), tolerance=TOLERANCE)
    assert (parity.status, parity.reason, parity.mean_px) == ("not run", str(error), None)
    assert failures == ([f"{backend}: {error}"] if fails else [])
