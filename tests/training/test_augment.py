"""Augmentation: the flow stays exact, whatever is done to the frames."""

import pytest
import torch
import torch.nn.functional as F

from training.data.augment import Samples, augment, crop_only, geometric, photometric, random_views
from training.data.batch import PairBatch


def shifted_pair(dx: float, dy: float) -> PairBatch:
    """A smooth picture moved by a known amount; analytic, so that sampling it is exact."""
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(128.0), indexing="ij")

    def picture(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        waves = [torch.sin(x / 7 + i) * torch.cos(y / 9 - i) for i in range(3)]
        return (127 + 100 * torch.stack(waves)).round().to(torch.uint8)

    flow = torch.tensor([dx, dy])[None, :, None, None].expand(4, 2, 96, 128)
    image1, image2 = picture(x, y), picture(x - dx, y - dy)
    occluded = torch.zeros(4, 1, 96, 128, dtype=torch.bool)
    return PairBatch(image1.expand(4, -1, -1, -1), image2.expand(4, -1, -1, -1), flow, occluded)


def warp_error(samples: Samples) -> float:
    height, width = samples.flow.shape[-2:]
    x = torch.arange(width) + samples.flow[:, 0]
    y = torch.arange(height)[:, None] + samples.flow[:, 1]
    grid = torch.stack(((2 * x + 1) / width - 1, (2 * y + 1) / height - 1), dim=-1)
    back = F.grid_sample(samples.image2, grid, align_corners=False)
    inside = (grid.abs() < 0.95).all(-1)[:, None] & (samples.valid > 0)
    inside = (F.max_pool2d((~inside).float(), 9, 1, 4) == 0).expand_as(back)
    return float((back - samples.image1)[inside].abs().mean())


@pytest.mark.parametrize("seed", range(6))
def test_geometry_keeps_the_flow_exact(seed: int) -> None:
    samples = geometric(shifted_pair(5.5, -3.25), (64, 64), seed)
    # Interpolating a smooth 8-bit picture twice costs about one grey level.
    assert warp_error(samples) < 2.0
    wrong = Samples(
        samples.image1, samples.image2, samples.flow + 2, samples.occluded, samples.valid
    )
    assert warp_error(wrong) > 3 * warp_error(samples)


def test_views_are_where_the_flow_says() -> None:
    """By matrices alone: a crop pixel and its flow lead to the same source point as f does."""
    view1, view2 = random_views(4, (96, 128), (64, 64), 3)
    samples = geometric(shifted_pair(4.0, 2.0), (64, 64), 3)
    at = torch.tensor([20.0, 30.0, 1.0])
    for i in range(4):
        source = view1[i] @ at
        target = view2[i] @ (at + torch.cat((samples.flow[i, :, 30, 20], torch.zeros(1))))
        torch.testing.assert_close(
            target - source, torch.tensor([4.0, 2.0, 0.0]), atol=1e-3, rtol=0
        )


def test_what_leaves_the_crop_is_occluded() -> None:
    """Everything moves 100 px to the right: no pixel of a 64 px crop stays in it."""
    samples = geometric(shifted_pair(100.0, 0.0), (64, 64), 0)
    assert (samples.occluded == 1).all()
    assert (geometric(shifted_pair(0.0, 0.0), (64, 64), 0).occluded == 0).float().mean() > 0.8


def test_photometry_leaves_geometry_alone() -> None:
    before = geometric(shifted_pair(1.0, 1.0), (64, 64), 0)
    after = photometric(before, 0)
    assert torch.equal(after.flow, before.flow)
    assert not torch.equal(after.image1, before.image1)
    for image in (after.image1, after.image2):
        assert image.min() >= 0
        assert image.max() <= 255


def test_seed_decides() -> None:
    pairs = shifted_pair(1.0, 1.0)
    one, two, other = (augment(pairs, (64, 64), seed) for seed in (1, 1, 2))
    assert torch.equal(one.image1, two.image1)
    assert torch.equal(one.flow, two.flow)
    assert not torch.equal(one.flow, other.flow)


@pytest.mark.parametrize("prepare", [geometric, crop_only])
def test_unknown_flow_has_no_weight_and_changes_nothing_else(prepare) -> None:
    """Against the same batch with all flow known."""
    dense = shifted_pair(3.0, -2.0)
    flow = dense.flow.clone()
    hole = torch.zeros_like(flow[:, :1], dtype=torch.bool)
    hole[..., 20:60, 30:70] = True
    flow[hole.expand_as(flow)] = torch.nan
    sparse = PairBatch(dense.image1, dense.image2, flow, dense.occluded)
    crop = (64, 64)
    for seed in range(3):
        expected, found = (prepare(pairs, crop, seed) for pairs in (dense, sparse))
        known = found.valid.bool()
        assert (found.valid <= expected.valid).all()
        assert 0 < known.sum() < expected.valid.sum()
        assert torch.equal(found.image1, expected.image1)
        assert torch.equal(
            found.flow[known.expand_as(found.flow)], expected.flow[known.expand_as(found.flow)]
        )
        assert found.flow.isfinite().all()
        assert found.occluded.isfinite().all()
