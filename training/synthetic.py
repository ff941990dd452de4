"""Procedural image pairs with exact flow, in the manner of Flying Chairs.

A textured background and 6 to 14 foreground objects move by an affine map each, the objects' on
top of the background's. Motion follows the FlowNet authors' own generator (Mayer et al., IJCV
2018, arXiv 1801.06397): heavy-tailed, most of it small, some beyond 60 pixels. Everything is drawn
in torch, batched, the same on CPU and GPU, and depends on nothing but the seed.

Shading is deferred: outlines first decide which layer each pixel sees (and, along an edge, which
layer lies below), then only those two layers' textures are read.
"""

import argparse
import math
import re
import struct
from dataclasses import dataclass, fields
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from training.shapes import STORED, distance_maps
from training.textures import TEXTURE_SIZE, texture_atlas

FLO_MAGIC = 202021.25  # "PIEH" read as a float: vision.middlebury.edu/flow
OBJECTS = (6, 14)  # in view or near it; the originals scatter 16-24 over twice the frame
OUTSIDE = 60  # pixels beyond the frame where objects may still be centred


@dataclass(frozen=True)
class Pairs:
    """A batch of image pairs with ground truth.

    Attributes:
        image1: (B, 3, H, W) uint8 RGB.
        image2: likewise.
        flow: (B, 2, H, W) float32, pixels, x then y, from image 1 to image 2.
        occluded: (B, 1, H, W) bool: the pixel of image 1 is hidden in image 2, or outside it.
    """

    image1: Tensor
    image2: Tensor
    flow: Tensor
    occluded: Tensor

    def to(self, device: torch.device | str) -> "Pairs":
        """Copy to a device."""
        return Pairs(*(getattr(self, field.name).to(device) for field in fields(self)))


@dataclass(frozen=True)
class Scene:
    """What is drawn; every tensor has a batch axis B and a layer axis K, layer 0 the background.

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
    )


def apply_affine(matrix: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Apply (..., 2 or 3, 3) matrices to pixel coordinates; the shapes broadcast."""
    return (
        matrix[..., 0, 0] * x + matrix[..., 0, 1] * y + matrix[..., 0, 2],
        matrix[..., 1, 0] * x + matrix[..., 1, 1] * y + matrix[..., 1, 2],
    )


def gather_layers(values: Tensor, index: Tensor) -> Tensor:
    """Pick (B, K, C) per-layer values by (B, H, W) layer indices: (B, H, W, C)."""
    batch, height, width = index.shape
    flat = index.reshape(batch, -1, 1).expand(-1, -1, values.shape[-1])
    return values.gather(1, flat).unflatten(1, (height, width))


class SyntheticPairs:
    """Renders batches of synthetic pairs.

    Args:
        height: of the images, in pixels.
        width: likewise.
        device: where to render.
    """

    def __init__(self, height: int, width: int, *, device: torch.device | str = "cpu") -> None:
        self.height, self.width, self.device = height, width, torch.device(device)
        self.atlas = texture_atlas().to(self.device)[None]
        self.outlines = distance_maps().to(self.device)[None]
        ys = torch.arange(height, device=self.device, dtype=torch.float32)
        xs = torch.arange(width, device=self.device, dtype=torch.float32)
        self.y, self.x = ys[:, None], xs[None, :]

    def render(self, batch: int, seed: int) -> Pairs:
        """Render ``batch`` pairs; the same seed gives the same pairs."""
        scene = draw_scene(
            batch,
            self.height,
            self.width,
            textures=self.atlas.shape[-1] // TEXTURE_SIZE,
            masks=self.outlines.shape[-1] // STORED,
            seed=seed,
        ).to(self.device)
        still = torch.eye(3, device=self.device).expand_as(scene.motion)
        image1, visible1 = self._frame(scene, still)
        image2, visible2 = self._frame(scene, torch.linalg.inv(scene.motion))
        flow = self._flow(scene, visible1)
        return Pairs(image1, image2, flow, self._occluded(flow, visible1, visible2))

    def _frame(self, scene: Scene, to_frame1: Tensor) -> tuple[Tensor, Tensor]:
        """Draw one frame.

        Args:
            scene: what to draw.
            to_frame1: (B, K, 3, 3), this frame's pixels -> frame 1 pixels, per layer.

        Returns:
            (B, 3, H, W) uint8 image, and the (B, H, W) index of the layer each pixel shows.
        """
        top, below, coverage = self._layers(scene, scene.to_mask @ to_frame1)
        to_texture = scene.to_texture @ to_frame1
        image = self._paint(scene, to_texture, top)
        # Where the top layer covers a pixel whole, the layer below does not matter.
        under = self._paint(scene, to_texture, below)
        image = (under + coverage[:, None] * (image - under)).clamp(0, 255).round()
        return image.to(torch.uint8), torch.where(coverage >= 0.5, top, below)

    def _layers(self, scene: Scene, to_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Back to front: each pixel's topmost layer, the one below it, the topmost's coverage."""
        batch, layers = scene.mask.shape
        shape = (batch, self.height, self.width)
        top = torch.zeros(shape, dtype=torch.uint8, device=self.device)
        below = torch.zeros_like(top)
        coverage = torch.ones(shape, device=self.device)
        maps = self.outlines.shape[-1] // STORED
        for k in range(1, layers):
            matrix = to_mask[:, k, None, None]
            u, v = apply_affine(matrix, self.x, self.y)
            # Place -1..1 on tile `mask` of the strip; stay half a texel inside the tile.
            edge = 1 - 1 / STORED
            u = (u.clamp(-edge, edge) + 2 * scene.mask[:, k, None, None] + 1) / maps - 1
            grid = torch.stack((u, v.clamp(-edge, edge)), dim=-1)
            distance = F.grid_sample(
                self.outlines.expand(batch, -1, -1, -1), grid, align_corners=False
            )[:, 0]
            # One map unit is `extent` pixels: distance in pixels, half a pixel to either side.
            extent = torch.linalg.det(matrix[..., :2, :2]).rsqrt()
            alpha = (distance * extent + 0.5).clamp(0, 1) * scene.present[:, k, None, None]
            covers = alpha > 0
            below = torch.where(covers, torch.where(coverage >= 0.5, top, below), below)
            top = torch.where(covers, k, top)
            coverage = torch.where(covers, alpha, coverage)
        return top.long(), below.long(), coverage

    def _paint(self, scene: Scene, to_texture: Tensor, layer: Tensor) -> Tensor:
        """Colour every pixel by the texture of the layer it shows: (B, 3, H, W), 0..255."""
        batch = layer.shape[0]
        tiles = self.atlas.shape[-1] // TEXTURE_SIZE
        matrices = gather_layers(to_texture[:, :, :2].flatten(2), layer)
        matrices = matrices.unflatten(-1, (2, 3))
        u, v = apply_affine(matrices, self.x, self.y)
        # Mirror at the tile's borders, so that a texture covers the plane without seams.
        last = TEXTURE_SIZE - 1
        u, v = ((c.remainder(2 * last) - last).abs() for c in (u, v))
        tile = gather_layers(scene.texture[..., None].float(), layer)[..., 0]
        u = (u + 0.5 + tile * TEXTURE_SIZE) * (2 / (tiles * TEXTURE_SIZE)) - 1
        v = (v + 0.5) * (2 / TEXTURE_SIZE) - 1
        texture = F.grid_sample(
            self.atlas.expand(batch, -1, -1, -1), torch.stack((u, v), dim=-1), align_corners=False
        )
        look = torch.cat((scene.colour, scene.contrast, scene.shade), dim=-1)
        look = gather_layers(look, layer).permute(0, 3, 1, 2)
        slope = look[:, 4:5] * (self.x - self.width / 2) + look[:, 5:6] * (self.y - self.height / 2)
        return look[:, :3] + look[:, 3:4] * (texture - 128) + slope

    def _flow(self, scene: Scene, visible: Tensor) -> Tensor:
        matrices = gather_layers(scene.motion[:, :, :2].flatten(2), visible).unflatten(-1, (2, 3))
        x, y = apply_affine(matrices, self.x, self.y)
        return torch.stack((x - self.x, y - self.y), dim=1)

    def _occluded(self, flow: Tensor, visible1: Tensor, visible2: Tensor) -> Tensor:
        x = (self.x + flow[:, 0]).round().long()
        y = (self.y + flow[:, 1]).round().long()
        inside = (x >= 0) & (x < self.width) & (y >= 0) & (y < self.height)
        target = y.clamp(0, self.height - 1) * self.width + x.clamp(0, self.width - 1)
        there = visible2.flatten(1).gather(1, target.flatten(1)).view_as(visible1)
        return (~inside | (there != visible1))[:, None]


def write_pairs(folder: Path, pairs: Pairs, *, first: int = 1) -> None:
    """Write a batch in the layout of Flying Chairs: ``00001_img1.ppm`` and so on."""
    for i in range(len(pairs.flow)):
        stem = folder / f"{first + i:05d}"
        for number, images in ((1, pairs.image1), (2, pairs.image2)):
            _, height, width = images[i].shape
            pixels = images[i].permute(1, 2, 0).contiguous().cpu().numpy()
            header = f"P6\n{width} {height}\n255\n".encode()
            Path(f"{stem}_img{number}.ppm").write_bytes(header + pixels.tobytes())
        flow = pairs.flow[i].permute(1, 2, 0).contiguous().cpu().numpy().astype("<f4")
        header = struct.pack("<fii", FLO_MAGIC, flow.shape[1], flow.shape[0])
        Path(f"{stem}_flow.flo").write_bytes(header + flow.tobytes())


def main(arguments: list[str] | None = None) -> None:
    """Render pairs to a folder."""
    parser = argparse.ArgumentParser(
        prog="python -m training.synthetic",
        description="Render synthetic pairs with exact flow, in the layout of Flying Chairs.",
    )
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--size", default="384x512", metavar="HxW")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    options = parser.parse_args(arguments)
    matched = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", options.size)
    if not matched:
        parser.error(f"--size {options.size}: expected HEIGHTxWIDTH, such as 384x512")
    if options.pairs < 1:
        parser.error(f"--pairs {options.pairs}: expected at least 1")
    renderer = SyntheticPairs(int(matched[1]), int(matched[2]))
    options.output.mkdir(parents=True, exist_ok=True)
    for index in tqdm(range(options.pairs), desc="rendering", unit="pair", disable=None):
        pair = renderer.render(1, options.seed + index)
        write_pairs(options.output, pair, first=index + 1)
    print(f"wrote {options.pairs} pairs of {options.size} to {options.output}")


if __name__ == "__main__":
    main()
