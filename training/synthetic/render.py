"""Procedural image pairs with exact flow, in the manner of Flying Chairs.

A textured background and 6 to 14 foreground objects in or near the view move by an affine map each,
the objects' on top of the background's, or stand in depth before a moving camera. Everything is
drawn in torch, batched, the same on CPU and GPU, and depends on nothing but the seed.

Shading is deferred: outlines first decide which layer each pixel sees (and, along an edge, which
layer lies below), then only those two layers' textures are read.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from training.data.batch import PairBatch
from training.synthetic.kinds import SCENES
from training.synthetic.scene import BEHIND, Scene
from training.synthetic.shapes import STORED
from training.synthetic.textures import TEXTURE_SIZE


def sample(source: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Read (1, C, h, w) bilinearly at places of shape (..., W), -1..1: (C, ..., W).

    Every row is an item of a batch here, because torch's CPU threads share the batch axis alone.
    """
    rows = torch.stack((u, v), dim=-1).flatten(0, -3)[:, None]
    values = F.grid_sample(source.expand(len(rows), -1, -1, -1), rows, align_corners=False)
    return values[:, :, 0].transpose(0, 1).reshape(source.shape[1], *u.shape)


def boxes(
    to_mask: Tensor, present: Tensor, bounded: Tensor, height: int, width: int
) -> list[tuple[slice, slice]]:
    """Rows and columns of the frame outside of which a layer shows in no scene of the batch.

    Args:
        to_mask: (B, K, 3, 3) frame pixels -> the outline's map.
        present: (B, K) bool.
        bounded: (B, K) bool, as of `Scene`.
        height: of the frame.
        width: likewise.
    """
    square = torch.tensor([[-1.0, 1, 1, -1], [-1, -1, 1, 1], [1, 1, 1, 1]])
    corners = torch.linalg.inv(to_mask.cpu()) @ square
    places, w = corners[..., :2, :], corners[..., 2:, :]
    places = places / w.clamp(min=BEHIND)
    anywhere = ~bounded.cpu()[..., None] | (w <= BEHIND).any(-1)
    hidden = ~present.cpu()[..., None]
    low = places.amin(-1).masked_fill(anywhere, 0).masked_fill(hidden, math.inf).amin(0)
    high = places.amax(-1).masked_fill(anywhere, math.inf).masked_fill(hidden, -math.inf).amax(0)
    # Clamping also brings what is nowhere to an empty slice.
    size = torch.tensor([width, height])
    first = low.clamp(min=torch.zeros(2)).minimum(size).floor().long().tolist()
    end = (high + 1).maximum(torch.zeros(2)).minimum(size).ceil().long().tolist()
    return [(slice(y0, y1), slice(x0, x1)) for (x0, y0), (x1, y1) in zip(first, end, strict=True)]


class SyntheticPairs:
    """Renders batches of synthetic pairs.

    Args:
        height: of the images, in pixels.
        width: likewise.
        scenes: a key of ``SCENES``.
        device: where to render.
    """

    def __init__(
        self,
        height: int,
        width: int,
        *,
        scenes: str = "affine",
        device: torch.device | str = "cpu",
    ) -> None:
        self.height, self.width, self.device = height, width, torch.device(device)
        self.kind = SCENES[scenes]
        self.atlas = self.kind.textures().to(self.device)[None]
        self.outlines = self.kind.outlines().to(self.device)[None]
        ys = torch.arange(height, device=self.device, dtype=torch.float32)
        xs = torch.arange(width, device=self.device, dtype=torch.float32)
        self.y, self.x = ys[:, None], xs[None, :]

    def render(self, batch: int, seed: int) -> PairBatch:
        """Render ``batch`` pairs; the same seed gives the same pairs."""
        scene = self.kind.draw(
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
        return PairBatch(image1, image2, flow, self._occluded(flow, visible1, visible2))

    def _frame(self, scene: Scene, to_frame1: Tensor) -> tuple[Tensor, Tensor]:
        """Draw one frame.

        Args:
            scene: what to draw.
            to_frame1: (B, K, 3, 3), this frame's pixels -> frame 1 pixels, per layer.

        Returns:
            (B, 3, H, W) uint8 image, and (B, H, W), which of all scenes' B * K layers each pixel
            shows.
        """
        top, below, coverage = self._layers(scene, scene.to_mask @ to_frame1)
        looks = self._looks(scene, scene.to_texture @ to_frame1)
        image = self._paint(looks[:, top], self.x, self.y)
        # Where the top layer covers a pixel whole, the layer below does not matter.
        edge = coverage < 1
        _, y, x = edge.nonzero(as_tuple=True)
        under = self._paint(looks[:, below[edge]][:, None], x[None], y[None])[:, 0]
        image[:, edge] = torch.lerp(under, image[:, edge], coverage[edge])
        image = image.clamp_(0, 255).round_().to(torch.uint8).transpose(0, 1)
        return image, torch.where(coverage >= 0.5, top, below)

    def _layers(self, scene: Scene, to_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Back to front: each pixel's topmost layer, the one below it, the topmost's coverage."""
        batch, layers = scene.mask.shape
        shape = (batch, self.height, self.width)
        top = torch.zeros(shape, dtype=torch.uint8, device=self.device)
        below = torch.zeros_like(top)
        coverage = torch.ones(shape, device=self.device)
        maps = self.outlines.shape[-1] // STORED
        places = boxes(to_mask, scene.present, scene.bounded, self.height, self.width)
        for k, (rows, columns) in enumerate(places[1:], start=1):
            box = (slice(None), rows, columns)
            if not coverage[box].numel():
                continue
            matrix = to_mask[:, k, None, None]
            u, v = self.kind.apply(matrix, self.x[:, columns], self.y[rows])
            # Place -1..1 on tile `mask` of the strip; stay half a texel inside the tile.
            edge = 1 - 1 / STORED
            u = (u.clamp(-edge, edge) + 2 * scene.mask[:, k, None, None] + 1) / maps - 1
            distance = sample(self.outlines, u, v.clamp(-edge, edge))[0]
            # One map unit is `extent` pixels: distance in pixels, half a pixel to either side.
            extent = torch.linalg.det(matrix[..., :2, :2]).clamp(min=1e-8).rsqrt()
            alpha = (distance * extent + 0.5).clamp(0, 1) * scene.present[:, k, None, None]
            covers = alpha > 0
            under = torch.where(coverage[box] >= 0.5, top[box], below[box])
            below[box] = torch.where(covers, under, below[box])
            top[box] = torch.where(covers, k, top[box])
            coverage[box] = torch.where(covers, alpha, coverage[box])
        first = torch.arange(batch, device=self.device)[:, None, None] * layers
        return first + top, first + below, coverage

    def _looks(self, scene: Scene, to_texture: Tensor) -> Tensor:
        """What painting a layer takes, of all scenes' layers: (16, B * K)."""
        parts = (to_texture.flatten(2), scene.texture[..., None].float(), scene.colour)
        return torch.cat((*parts, scene.contrast, scene.shade), dim=-1).flatten(0, 1).T

    def _paint(self, look: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Colour pixels (x, y) by a layer's look each, (16, ...): (3, ...), 0..255 and beyond."""
        matrix, tile, colour, contrast, shade = look.split((9, 1, 3, 1, 2))
        tiles = self.atlas.shape[-1] // TEXTURE_SIZE
        u, v = self.kind.apply(matrix.unflatten(0, (3, 3)).movedim((0, 1), (-2, -1)), x, y)
        # Mirror at the tile's borders, so that a texture covers the plane without seams.
        last = TEXTURE_SIZE - 1
        u, v = ((c.remainder(2 * last) - last).abs() for c in (u, v))
        u = (u + 0.5 + tile[0] * TEXTURE_SIZE) * (2 / (tiles * TEXTURE_SIZE)) - 1
        v = (v + 0.5) * (2 / TEXTURE_SIZE) - 1
        slope = shade[0] * (x - self.width / 2) + shade[1] * (y - self.height / 2)
        return colour + contrast * (sample(self.atlas, u, v) - 128) + slope

    def _flow(self, scene: Scene, visible: Tensor) -> Tensor:
        matrices = scene.motion.flatten(0, 1)[visible]
        x, y = self.kind.apply(matrices, self.x, self.y)
        return torch.stack((x - self.x, y - self.y), dim=1)

    def _occluded(self, flow: Tensor, visible1: Tensor, visible2: Tensor) -> Tensor:
        x = (self.x + flow[:, 0]).round().long()
        y = (self.y + flow[:, 1]).round().long()
        inside = (x >= 0) & (x < self.width) & (y >= 0) & (y < self.height)
        target = y.clamp(0, self.height - 1) * self.width + x.clamp(0, self.width - 1)
        there = visible2.flatten(1).gather(1, target.flatten(1)).view_as(visible1)
        return (~inside | (there != visible1))[:, None]
