from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import engine
from engine.errors import (
    BackendError,
    BackendNotInstalledError,
    HardwareMissingError,
    PlanMismatchError,
)
from engine.manifest import SizeProfile
from export.deployable import Deployable
from export.spec import Tolerance
from export.verify import (
    Deviation,
    Pair,
    deviation_between,
    end_point_error,
    excesses,
    pairs_within,
    reference_flow,
    verify_backend,
)

PROFILE = SizeProfile((1, 64, 64), (1, 384, 512), (4, 1088, 1920))
TOLERANCE = Tolerance(mean_px=0.1, max_px=1.0, relative=0.01)


@st.composite
def profiles(draw: st.DrawFn) -> SizeProfile:
    sides = [sorted(draw(st.lists(st.integers(1, 12), min_size=3, max_size=3))) for _ in "hw"]
    low, opt, high = ((64 * height, 64 * width) for height, width in zip(*sides, strict=True))
    return SizeProfile((1, *low), (1, *opt), (draw(st.integers(1, 4)), *high))


@settings(max_examples=20, deadline=None)
@given(profiles())
def test_pairs_fit_the_profile_after_padding(profile: SizeProfile) -> None:
    for pair in pairs_within(profile):
        batch, *size, channels = pair.image1.shape
        padded = (batch, *(-(-side // 64) * 64 for side in size))
        assert pair.image1.dtype == np.uint8
        assert pair.image1.shape == pair.image2.shape
        assert channels == 3
        assert all(
            low <= side <= high
            for low, side, high in zip(profile.min, padded, profile.max, strict=True)
        )


def test_pairs_cover_odd_sizes_and_batches() -> None:
    shapes = {pair.name: pair.image1.shape for pair in pairs_within(PROFILE)}
    assert shapes == {
        "motorcycle 500x741": (1, 500, 741, 3),
        "noise 1x384x512": (1, 384, 512, 3),
        "noise 1x381x507": (1, 381, 507, 3),
        "noise 2x128x128": (2, 128, 128, 3),
    }


def test_motorcycle_truth_maps_the_first_image_onto_the_second() -> None:
    pair = pairs_within(PROFILE)[0]
    assert pair.flow is not None
    rows, columns = np.nonzero(np.isfinite(pair.flow[0, ..., 0]))
    x = columns + np.rint(pair.flow[0, rows, columns, 0]).astype(int)
    inside = x >= 0
    rows, columns, x = rows[inside], columns[inside], x[inside]
    here = pair.image1[0, rows, columns].astype(int)
    there = pair.image2[0, rows, x].astype(int)
    unmoved = pair.image2[0, rows, columns].astype(int)
    assert np.median(np.abs(here - there)) < 0.3 * np.median(np.abs(here - unmoved))


def test_reference_pads_by_repeating_the_edge_and_crops(deployable: Deployable) -> None:
    generator = np.random.default_rng(0)
    image1, image2 = generator.integers(0, 256, (2, 1, 70, 130, 3), dtype=np.uint8)
    margin = ((0, 0), (0, 58), (0, 62), (0, 0))
    padded = [torch.from_numpy(np.pad(image, margin, mode="edge")) for image in (image1, image2)]
    with torch.inference_mode():
        expected = deployable(*padded).numpy()[:, :70, :130]
    np.testing.assert_array_equal(reference_flow(deployable, Pair("", image1, image2)), expected)


def test_deviation_is_the_distance_between_vectors() -> None:
    reference = np.full((1, 2, 2, 2), (6, 8), np.float32)
    flow = reference.copy()
    flow[0, 0, 0] += (3, 4)
    assert deviation_between(flow, reference) == Deviation(mean_px=1.25, max_px=5, relative=0.125)


def test_end_point_error_ignores_unknown_pixels() -> None:
    truth = np.zeros((1, 1, 3, 2), np.float32)
    truth[0, 0, 2] = np.nan
    flow = np.asarray([[[(3, 4), (0, 0), (9, 9)]]], np.float32)
    assert end_point_error(flow, truth) == pytest.approx(2.5)


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
