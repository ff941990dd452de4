"""Degradation leaves the flow unchanged; still pairs have none."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data import degrade
from training.data.augment import Samples
from training.data.batch import PairBatch
from training.data.degrade import augment_and_degrade, blur, compress, hold_still, jpeg


def samples(batch: int = 40) -> Samples:
    generator = torch.Generator().manual_seed(0)
    images = [255 * torch.rand(batch, 3, 24, 32, generator=generator) for _ in range(2)]
    flow = 9 * torch.randn(batch, 2, 24, 32, generator=generator)
    return Samples(*images, flow, torch.ones(batch, 1, 24, 32), torch.ones(batch, 1, 24, 32))


@given(st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_still_pairs_are_one_image_twice(seed: int) -> None:
    before = samples()
    after = hold_still(before, seed)
    held = (after.image2 != before.image2).flatten(1).any(1)
    torch.testing.assert_close(after.image1[held], after.image2[held], rtol=0, atol=0)
    assert not after.flow[held].any()
    assert not after.occluded[held].any()
    torch.testing.assert_close(after.flow[~held], before.flow[~held], rtol=0, atol=0)
    torch.testing.assert_close(after.image1[~held], before.image1[~held], rtol=0, atol=0)


def test_shares_of_still_and_flat_pairs() -> None:
    after = hold_still(samples(1000), seed=1)
    still = ~after.flow.flatten(1).any(1)
    flat = (after.image1.amax((2, 3)) == after.image1.amin((2, 3))).all(1)
    assert 0.04 < still.float().mean() < 0.11
    assert 0.005 < flat.float().mean() < 0.04
    assert still[flat].all()


@pytest.mark.parametrize("change", [blur, compress])
def test_flow_is_unchanged_and_seed_decides(change) -> None:
    before = samples()
    first = before.image1.clone()
    after, again = change(before, 7), change(before, 7)
    for name in ("flow", "occluded", "valid"):
        assert getattr(after, name) is getattr(before, name)
    torch.testing.assert_close(after.image1, again.image1, rtol=0, atol=0)
    torch.testing.assert_close(before.image1, first, rtol=0, atol=0)  # not changed in place
    changed = (after.image1 != before.image1).flatten(1).any(1)
    assert changed.any()
    assert not changed.all()


def test_variances_of_blur() -> None:
    """Sigma squared in both directions, and a twelfth of the way's length squared along it."""
    spot = torch.zeros(2, 1, 65, 65)
    spot[..., 32, 32] = 1
    sigma, way = torch.tensor([2.0, 1.0]), torch.tensor([[0.0, 0.0], [12.0, 0.0]])
    found = degrade._filtered(spot, sigma, way)[:, 0]
    torch.testing.assert_close(found.sum((1, 2)), torch.ones(2), atol=1e-4, rtol=0)
    square = (torch.arange(65.0) - 32) ** 2
    across, along = (found.sum(2) * square).sum(1), (found.sum(1) * square).sum(1)
    torch.testing.assert_close(across, sigma**2, rtol=0.05, atol=0)
    torch.testing.assert_close(along, sigma**2 + way[:, 0] ** 2 / 12, rtol=0.05, atol=0)


@given(st.integers(30, 95), st.integers(0, 2**31))
@settings(max_examples=10, deadline=None)
def test_jpeg_against_opencv(quality: int, seed: int) -> None:
    """Its distance to the picture, within a quarter; without chrominance subsampling."""
    rng = np.random.default_rng(seed)
    picture = cv2.resize(rng.uniform(0, 255, (8, 10, 3)).astype(np.uint8), (80, 64))
    picture = (picture + rng.normal(0, 4, picture.shape)).clip(0, 255).astype(np.uint8)
    how = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]
    theirs = cv2.imdecode(cv2.imencode(".jpg", picture, how)[1], cv2.IMREAD_COLOR)
    batch = torch.from_numpy(picture[..., ::-1].copy()).permute(2, 0, 1)[None].float()
    ours = jpeg(batch, torch.tensor([float(quality)]))[0].permute(1, 2, 0).numpy()[..., ::-1]
    expected = np.abs(theirs.astype(float) - picture).mean()
    assert np.abs(ours - picture).mean() == pytest.approx(expected, rel=0.25, abs=0.3)
    assert np.abs(ours - theirs).mean() < 0.5 * expected + 0.5


def test_blur_moves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The centre of mass of a spot stays where it is."""
    for share in ("DEFOCUSED", "MOTION_BLURRED"):
        monkeypatch.setattr(degrade, share, 1.0)
    monkeypatch.setattr(degrade, "RAINY", 0.0)
    before = samples(4)
    spot = torch.zeros(4, 3, 65, 65)
    spot[..., 32, 32] = 255
    flow = torch.full((4, 2, 65, 65), 10.0)
    after = blur(Samples(spot, spot, flow, before.occluded, before.valid), 3)
    for image in (after.image1, after.image2):
        mass = image[:, 0] / image[:, 0].sum((1, 2), keepdim=True)
        place = torch.arange(65.0)
        torch.testing.assert_close(
            (mass.sum(1) * place).sum(1), torch.full((4,), 32.0), atol=0.2, rtol=0
        )


def test_seed_decides() -> None:
    before = samples(4)
    images = (image.to(torch.uint8) for image in (before.image1, before.image2))
    pairs = PairBatch(*images, before.flow, before.occluded.bool())
    one, two, other = (augment_and_degrade(pairs, (16, 24), seed) for seed in (1, 1, 2))
    assert torch.equal(one.image1, two.image1)
    assert torch.equal(one.flow, two.flow)
    assert not torch.equal(one.flow, other.flow)
