"""Random scenes of procedural pairs: layers with outlines, textures and affine motion.

Motion follows the FlowNet authors' generator (Mayer et al., IJCV 2018, arXiv 1801.06397):
heavy-tailed, most of it small, some beyond 60 pixels.
"""

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from training.synthetic.textures import TEXTURE_SIZE

OBJECTS = (6, 14)  # in or near the frame; the original has 16-24 over twice the frame
BEHIND = 1e-3  # least distance from the camera, in distances of the middle of a layer
OUTSIDE = 60  # pixels beyond the frame where objects may still be centred


@dataclass(frozen=True)
class Scene:
    """A scene; every tensor has a batch axis B and a layer axis K, layer 0 the background.

    Attributes:
        motion: (B, K, 3, 3) frame 1 pixels -> frame 2 pixels.
        to_mask: (B, K, 3, 3) frame 1 pixels -> the outline's map, -1..1.
        to_texture: (B, K, 3, 3) frame 1 pixels -> texture pixels.
        mask: (B, K) index of the outline.
        texture: (B, K) index of the texture.
        colour: (B, K, 3) shade around which the texture varies, 0..255.
        contrast: (B, K, 1) how much of the texture shows.
        shade: (B, K, 2) brightness gradient over the frame, per pixel.
        present: (B, K) bool.
        bounded: (B, K) bool, whether the layer ends within the outline's map.
    """

    motion: Tensor
    to_mask: Tensor
    to_texture: Tensor
    mask: Tensor
    texture: Tensor
    colour: Tensor
    contrast: Tensor
    shade: Tensor
    present: Tensor
    bounded: Tensor

    def to(self, device: torch.device | str) -> "Scene":
        """Copy to a device."""
        return Scene(*(getattr(self, field.name).to(device) for field in fields(self)))


class Sampler:
    """Random draws of a given shape from one seeded generator (on the CPU, hence device-free)."""

    def __init__(self, shape: tuple[int, ...], seed: int) -> None:
        self.shape = shape
        self.generator = torch.Generator().manual_seed(seed)

    def uniform(self, low: float, high: float, *extra: int) -> Tensor:
        return low + (high - low) * torch.rand(*self.shape, *extra, generator=self.generator)

    def normal(self, *extra: int) -> Tensor:
        return torch.randn(*self.shape, *extra, generator=self.generator)

    def integers(self, low: int, high: int) -> Tensor:
        """Integers in low..high-1."""
        return torch.randint(low, high, self.shape, generator=self.generator)

    def heavy_tailed(self, power: int, scale: float, reach: float, *extra: int) -> Tensor:
        """Sign(z) |z|^power / scale * reach; beyond +-reach no motion at all (arXiv 1801.06397)."""
        z = self.normal(*extra)
        value = z.sign() * z.abs() ** power / scale
        return torch.where(value.abs() > 1, torch.zeros_like(value), value) * reach

    def sometimes(self, probability: float, value: Tensor) -> Tensor:
        return torch.where(self.uniform(0, 1) < probability, value, torch.zeros_like(value))


def affine(angle: Tensor, scale: Tensor, centre: Tensor, shift: Tensor) -> Tensor:
    """Rotate and scale about ``centre``, then shift: (..., 3, 3) matrices on (x, y, 1)."""
    cos, sin = scale * angle.cos(), scale * angle.sin()
    linear = torch.stack((cos, -sin, sin, cos), dim=-1).unflatten(-1, (2, 2))
    offset = centre + shift - (linear @ centre[..., None])[..., 0]
    matrix = torch.zeros(*angle.shape, 3, 3)
    matrix[..., :2, :2] = linear
    matrix[..., :2, 2] = offset
    matrix[..., 2, 2] = 1
    return matrix


def draw_scene(
    batch: int, height: int, width: int, *, textures: int, masks: int, seed: int
) -> Scene:
    """Draw a batch of scenes; layer 0 is the background."""
    size = torch.tensor([width, height], dtype=torch.float32)
    back, front = Sampler((batch, 1), seed), Sampler((batch, OBJECTS[1]), seed + 1_000_003)
    middle = (size / 2).expand(batch, 1, 2)

    degrees = math.pi / 180
    back_motion = affine(
        back.sometimes(0.3, back.heavy_tailed(2, 6, 10 * degrees)),
        1 + back.sometimes(0.6, back.heavy_tailed(2, 6, 0.07)),
        middle,
        back.heavy_tailed(2, 6, 35, 2),
    )
    centre = front.uniform(0, 1, 2) * (size + 2 * OUTSIDE) - OUTSIDE
    front_motion = affine(
        front.sometimes(0.7, front.heavy_tailed(2, 6, 30 * degrees)),
        1 + front.sometimes(0.7, front.heavy_tailed(2, 6, 0.2)),
        centre,
        front.heavy_tailed(3, 10, 100, 2),
    )
    # Half-extent in pixels: the outline fills roughly the middle half of its map.
    extent = (90 + 70 * front.normal()).clamp(25, 260)
    to_mask = affine(front.uniform(-math.pi, math.pi), 1 / extent, centre, -centre)

    def texture_view(draw: Sampler, place: Tensor, low: float, high: float) -> Tensor:
        shift = draw.uniform(0, 2 * TEXTURE_SIZE, 2) - place
        return affine(draw.uniform(-math.pi, math.pi), draw.uniform(low, high), place, shift)

    # Half of the objects are nearly plain, and plain ones often dark, as real chairs are.
    plain = front.uniform(0, 1, 1) < 0.5
    faint, full = front.uniform(0.0, 0.25, 1), front.uniform(0.5, 1.2, 1)
    dark = front.uniform(0, 1, 1) < 0.35
    colour = front.uniform(0, 255, 1) + 35 * front.normal(3)
    count = front.generator
    number = torch.randint(OBJECTS[0], OBJECTS[1] + 1, (batch, 1), generator=count)
    return Scene(
        motion=torch.cat((back_motion, back_motion @ front_motion), dim=1),
        to_mask=torch.cat((torch.eye(3).expand(batch, 1, 3, 3), to_mask), dim=1),
        to_texture=torch.cat(
            (texture_view(back, middle, 0.6, 1.4), texture_view(front, centre, 0.5, 1.8)), dim=1
        ),
        mask=torch.cat((back.integers(0, 1), front.integers(0, masks)), dim=1),
        texture=torch.cat((back.integers(0, textures), front.integers(0, textures)), dim=1),
        colour=torch.cat(
            (back.uniform(80, 180, 1) + 12 * back.normal(3), torch.where(dark, colour / 8, colour)),
            dim=1,
        ),
        contrast=torch.cat((back.uniform(0.5, 1.3, 1), torch.where(plain, faint, full)), dim=1),
        shade=torch.cat((back.normal(2) * 0.05, front.normal(2) * 0.2), dim=1),
        present=torch.cat(
            (torch.ones(batch, 1, dtype=torch.bool), torch.arange(OBJECTS[1]) < number), dim=1
        ),
        bounded=torch.ones(batch, 1 + OBJECTS[1], dtype=torch.bool),
    )


def apply_affine(matrix: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Apply (..., 2 or 3, 3) matrices to pixel coordinates; the shapes broadcast."""
    return (
        matrix[..., 0, 0] * x + matrix[..., 0, 1] * y + matrix[..., 0, 2],
        matrix[..., 1, 0] * x + matrix[..., 1, 1] * y + matrix[..., 1, 2],
    )


def apply_homography(matrix: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Apply (..., 3, 3) matrices to pixel coordinates; the shapes broadcast."""
    # Sums over rows or columns alone first: passes over all pixels take most of the time.
    u, v, w = (
        matrix[..., i, 0] * x + (matrix[..., i, 1] * y + matrix[..., i, 2]) for i in range(3)
    )
    # What lies behind the camera is not seen, but must not become infinite.
    w = w.clamp_(min=BEHIND)
    return u.div_(w), v.div_(w)
