"""The kinds of scenes that procedural pairs are rendered from, by name."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from training.synthetic.camera import draw_scene_before_camera
from training.synthetic.scene import Scene, apply_affine, apply_homography, draw_scene
from training.synthetic.shapes import distance_maps, half_plane
from training.synthetic.textures import texture_atlas


class Draw(Protocol):
    """Draws a batch of scenes; the same seed draws the same ones."""

    def __call__(
        self, batch: int, height: int, width: int, *, textures: int, masks: int, seed: int
    ) -> Scene: ...


@dataclass(frozen=True)
class SceneKind:
    """How scenes are drawn and how their layers move.

    Attributes:
        draw: draws scenes with as many textures and outlines (``masks``) to choose from.
        outlines: returns the outlines' maps side by side, see `training.synthetic.shapes`.
        apply: applies a layer's matrices (..., 3, 3) to pixel coordinates x and y.
        textures: returns the textures side by side, see `training.synthetic.textures`.
    """

    draw: Draw
    outlines: Callable[[], Tensor]
    apply: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
    textures: Callable[[], Tensor]


def _with_half_plane() -> Tensor:
    return torch.cat((distance_maps(), half_plane()), dim=-1)


SCENES = {
    "affine": SceneKind(draw_scene, distance_maps, apply_affine, texture_atlas),
    "camera": SceneKind(
        draw_scene_before_camera,
        _with_half_plane,
        apply_homography,
        partial(texture_atlas, collages=60),
    ),
}
