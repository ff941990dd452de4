"""Augmentation on whole batches: geometry that keeps the flow exact, and photometry.

Ranges follow the FlowNet paper (arXiv 1504.06852, section 4.2), narrowed in rotation and zoom as in
ClementPinard/FlowNetPytorch, because the synthetic source already varies both widely.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from training.data.batch import PairBatch
from training.synthetic.scene import Sampler, affine, apply_affine


@dataclass(frozen=True)
class Samples:
    """An augmented batch.

    Attributes:
        image1: (B, 3, h, w) float32, 0..255.
        image2: likewise.
        flow: (B, 2, h, w) float32, pixels of the crop; 0 where it is unknown.
        occluded: (B, 1, h, w) float32, 1 where image 1's pixel is hidden in image 2.
        valid: (B, 1, h, w) float32, 1 where the flow is known.
    """

    image1: Tensor
    image2: Tensor
    flow: Tensor
    occluded: Tensor
    valid: Tensor


@dataclass(frozen=True)
class Differences:
    """How the frames of a pair differ besides their motion.

    Attributes:
        shaken: share of the pairs whose second frame is slightly moved, turned and zoomed.
        light: range, log-uniform over the pairs, of the standard deviation of the logarithm of a
            frame's contrast.
        brightness: standard deviation of a frame's brightness, in those of its contrast.
        gamma: standard deviation of the logarithm of a frame's gamma, likewise.
        noise: range of the noise's standard deviation, 1 being white; below 0: none.
    """

    shaken: float = 1.0
    light: tuple[float, float] = (0.03, 0.03)
    brightness: float = 2 / 3
    gamma: float = 0.0
    noise: tuple[float, float] = (0.0, 0.03)


FLOWNET = Differences()


def random_views(
    batch: int,
    source: tuple[int, int],
    crop: tuple[int, int],
    seed: int,
    differences: Differences = FLOWNET,
) -> Tensor:
    """Draw maps from crop pixels to source pixels: two (B, 3, 3), one per frame, stacked first."""
    draw = Sampler((batch,), seed)
    source_size = torch.tensor([source[1], source[0]], dtype=torch.float32)
    crop_size = torch.tensor([crop[1], crop[0]], dtype=torch.float32)
    zoom = draw.uniform(-0.05, 0.3).exp()
    slack = (source_size - crop_size / zoom[:, None]).clamp(min=0)
    centre = (source_size - 1) / 2 + (draw.uniform(0, 1, 2) - 0.5) * slack
    crop_centre = ((crop_size - 1) / 2).expand(batch, 2)
    angle = draw.uniform(-10, 10) * math.pi / 180
    view = affine(angle, 1 / zoom, crop_centre, centre - crop_centre)
    flips = torch.eye(3).repeat(batch, 1, 1)
    for axis, probability in ((0, 0.5), (1, 0.3)):
        flip = draw.uniform(0, 1) < probability
        flips[flip, axis, axis] = -1
        flips[flip, axis, 2] = crop_size[axis] - 1
    view = view @ flips
    shaken = (draw.uniform(0, 1) < differences.shaken).float()
    angle, zoom = 0.01 * shaken * draw.normal(), 1 + 0.01 * shaken * draw.normal()
    jitter = affine(angle, zoom, crop_centre, 2 * shaken[:, None] * draw.normal(2))
    return torch.stack((view, view @ jitter))


def geometric(
    pairs: PairBatch, crop: tuple[int, int], seed: int, differences: Differences = FLOWNET
) -> Samples:
    """Crop, zoom, rotate, flip and slightly jitter the frames against each other.

    A crop pixel x shows source pixel A1 x of frame 1; its match in frame 2 is A1 x + f(A1 x), which
    the second crop shows at A2^-1 of that, so the crop's flow is A2^-1 (A1 x + f(A1 x)) - x.
    """
    batch, _, height, width = pairs.image1.shape
    device = pairs.flow.device
    views = random_views(batch, (height, width), crop, seed, differences)
    view1, view2 = views.to(device)[:, :, None, None]
    y = torch.arange(crop[0], device=device, dtype=torch.float32)[:, None]
    x = torch.arange(crop[1], device=device, dtype=torch.float32)[None, :]

    def grid(view: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        u, v = apply_affine(view, x, y)
        scaled = torch.stack(((2 * u + 1) / width - 1, (2 * v + 1) / height - 1), dim=-1)
        return u, v, scaled

    u, v, grid1 = grid(view1)
    truth = torch.cat((pairs.flow, pairs.occluded.float()), dim=1)
    # Nearest, so that flow never blends across an object's outline.
    truth = F.grid_sample(truth, grid1, mode="nearest", padding_mode="border", align_corners=False)
    flow_u, flow_v, occluded = truth.unbind(1)
    to_u, to_v = apply_affine(torch.linalg.inv(view2), u + flow_u, v + flow_v)
    # Pixels whose match is outside the crop count as occluded.
    left = (to_u < 0) | (to_u > crop[1] - 1) | (to_v < 0) | (to_v > crop[0] - 1)

    def warp(image: Tensor, at: Tensor) -> Tensor:
        return F.grid_sample(image.float(), at, padding_mode="border", align_corners=False)

    flow, known = _without_unknown(torch.stack((to_u - x, to_v - y), dim=1))
    inside = (grid1.abs() <= 1).all(dim=-1)[:, None]
    return Samples(
        image1=warp(pairs.image1, grid1),
        image2=warp(pairs.image2, grid(view2)[2]),
        flow=flow,
        occluded=torch.maximum(occluded, left.float())[:, None],
        valid=(inside & known).float(),
    )


def _without_unknown(flow: Tensor) -> tuple[Tensor, Tensor]:
    """Return a flow with 0 where it is NaN, and (B, 1, h, w) bool: where it is known."""
    known = ~flow.isnan().any(dim=1, keepdim=True)
    return torch.where(known, flow, 0), known


def photometric(samples: Samples, seed: int, differences: Differences = FLOWNET) -> Samples:
    """Change colour, contrast, gamma and brightness of both frames, almost alike, and add noise."""
    batch = samples.image1.shape[0]
    device = samples.image1.device
    draw = Sampler((batch, 1, 1, 1), seed)
    gain = (0.25 * Sampler((batch, 3, 1, 1), seed + 1).normal()).exp().to(device)
    contrast, gamma = draw.uniform(-0.5, 0.35).exp(), draw.uniform(-0.35, 0.4).exp()
    brightness, sigma = 0.1 * draw.normal(), draw.uniform(*differences.noise).clamp(min=0)
    least, most = differences.light
    change = draw.uniform(math.log(least), math.log(most)).exp()
    noise = torch.Generator(device).manual_seed(seed + 2)

    def changed(image: Tensor) -> Tensor:
        scale = contrast * (change * draw.normal()).exp()
        offset = 0.5 - 0.5 * scale + brightness + differences.brightness * change * draw.normal()
        exponent = gamma * (differences.gamma * change * draw.normal()).exp()
        # In place: on a CPU, allocating new memory takes most of the time.
        out = (image * (gain / 255)).clamp_(0, 1).pow_(exponent.to(device))
        out.mul_(scale.to(device)).add_(offset.to(device))
        grain = torch.randn(out.shape, device=device, generator=noise)
        return out.addcmul_(grain, sigma.to(device)).clamp_(0, 1).mul_(255)

    return Samples(
        changed(samples.image1),
        changed(samples.image2),
        samples.flow,
        samples.occluded,
        samples.valid,
    )


def augment(pairs: PairBatch, crop: tuple[int, int], seed: int) -> Samples:
    """Geometry, then photometry; the same seed gives the same samples."""
    # Four consecutive seeds per batch: no two generators draw the same numbers.
    return photometric(geometric(pairs, crop, 4 * seed), 4 * seed + 1)


def crop_only(pairs: PairBatch, crop: tuple[int, int], seed: int) -> Samples:
    """Cut each pair at a random place; the same seed gives the same samples."""
    height, width = crop
    generator = torch.Generator().manual_seed(seed)
    free = torch.tensor(
        [size - side for size, side in zip(pairs.flow.shape[-2:], crop, strict=True)]
    )
    corners = (torch.rand(len(pairs.flow), 2, generator=generator) * (free + 1)).long()

    def cut(planes: Tensor) -> Tensor:
        cuts = [
            plane[:, top : top + height, left : left + width]
            for plane, (top, left) in zip(planes, corners.tolist(), strict=True)
        ]
        return torch.stack(cuts).float()

    flow, known = _without_unknown(cut(pairs.flow))
    image1, image2, occluded = map(cut, (pairs.image1, pairs.image2, pairs.occluded))
    return Samples(image1, image2, flow, occluded, valid=known.float())
