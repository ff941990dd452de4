"""Scenes before a moving camera: planes and objects in depth, each moving by a homography.

A plane n.X = d before a camera that turns by R and moves by t maps one image to the other by
K (R + t n' / d) K^-1 (Hartley and Zisserman, Multiple View Geometry, section 13.1). The unit of
depth is about that of the nearest object.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from training.synthetic.scene import Sampler, Scene, affine, draw_scene

PLANES = 3  # at most, of ground, ceiling and the walls at both sides
# Motion of the nearest object, in frame widths: 150 and 0.1 pixels of 512.
FASTEST, SLOWEST = 0.3, 0.0002
# Motion by the camera's rotation, likewise.
_TURN = (0.0001, 0.1)
NEAREST = 0.8  # least depth
_RADIUS = 0.4  # widths from the middle where motion into depth is as fast as sideways
_FURTHEST_STEP = 0.35  # into depth
_HALF_PLANE_EXTENT = 100.0  # pixels that the half-plane's map spans
_WITH_CAMERA = 0.6  # share of the scenes; the others move by affine maps
_STILL = 0.05  # share of those in which nothing moves
# Of the seeds of what is drawn for one batch, as in `training.synthetic.scene`.
_SEED_STEP = 1_000_003


def draw_scene_before_camera(
    batch: int, height: int, width: int, *, textures: int, masks: int, seed: int
) -> Scene:
    """Draw a batch of scenes, most of them before a moving camera; as `draw_scene`.

    The last outline is that of a half-plane, x > 0.
    """
    plain = draw_scene(batch, height, width, textures=textures, masks=masks - 1, seed=seed)
    return with_camera(plain, height, width, half_plane=masks - 1, seed=seed + 2 * _SEED_STEP)


def with_camera(scene: Scene, height: int, width: int, *, half_plane: int, seed: int) -> Scene:
    """Move a camera through some of a batch's scenes, and change the speed of the others.

    Args:
        scene: layers that move by affine maps.
        height: of the frame.
        width: likewise.
        half_plane: index of the outline that covers a half-plane, x > 0.
        seed: of what is drawn here.
    """
    batch = len(scene.motion)
    draw = Sampler((batch, 1), seed)
    scene = _paced(scene, draw)
    seen = draw.uniform(0, 1) < _WITH_CAMERA
    moved = _in_depth(scene, height, width, half_plane, seed + 1)
    chosen = {
        name: torch.where(seen.view(batch, *[1] * (value.dim() - 1)), value, getattr(scene, name))
        for name, value in vars(moved).items()
    }
    return Scene(**chosen)


def _paced(scene: Scene, draw: Sampler) -> Scene:
    """Scale all motion of a scene by one factor, from 0 to 2."""
    pace = torch.exp(draw.uniform(math.log(0.02), math.log(2.0)))
    pace = torch.where(draw.uniform(0, 1) < _STILL, torch.zeros_like(pace), pace)[..., None, None]
    still = torch.eye(3).expand_as(scene.motion)
    return replace(scene, motion=still + pace * (scene.motion - still))


def _in_depth(scene: Scene, height: int, width: int, half_plane: int, seed: int) -> Scene:
    """Set the layers into depth, before a camera that moves."""
    batch, layers = scene.mask.shape
    draw, each = Sampler((batch, 1), seed), Sampler((batch, layers), seed + _SEED_STEP)
    focal = width * draw.uniform(0.7, 1.4)
    camera = _intrinsics(focal, height, width)
    turn, step = _movement(draw, focal / width)
    # Far objects first, for the near ones to be drawn over them.
    furthest = torch.exp(draw.uniform(math.log(1.5), math.log(60)))
    share = each.uniform(0, 1).sort(dim=1).values
    depth = NEAREST * (furthest / NEAREST) ** (1 - share)
    depth[:, 0] = furthest[:, 0] * torch.where(draw.uniform(0, 1) < 0.3, 1e3, 1.0)[:, 0]
    towards = torch.tensor([0.0, 0.0, 1.0]).expand(batch, layers, 3)
    plane = towards / depth[..., None]
    scene, plane = _with_planes(scene, plane, draw, each, focal, (height, width), half_plane)
    motion = camera @ (turn + step[..., :, None] * plane[..., None, :]) @ torch.linalg.inv(camera)
    motion = motion / motion[..., 2:, 2:]
    # Some objects also move by themselves; the first layers, with the planes, do not.
    own = (each.uniform(0, 1) < 0.35) & (torch.arange(layers) > PLANES)
    alone = torch.linalg.inv(scene.motion[:, :1]) @ scene.motion
    still = torch.eye(3).expand_as(alone)
    motion = motion @ torch.where(own[..., None, None], alone, still)
    return replace(scene, motion=motion)


def _intrinsics(focal: Tensor, height: int, width: int) -> Tensor:
    """Return K, (B, 1, 3, 3): from directions to pixels, with its centre in the middle."""
    camera = torch.zeros(len(focal), 1, 3, 3)
    camera[..., 0, 0] = camera[..., 1, 1] = focal
    camera[..., 0, 2], camera[..., 1, 2] = (width - 1) / 2, (height - 1) / 2
    camera[..., 2, 2] = 1
    return camera


def _movement(draw: Sampler, focal: Tensor) -> tuple[Tensor, Tensor]:
    """Draw the camera's rotation (B, 1, 3, 3) and its step (B, 1, 3); focal in frame widths."""
    speed = torch.exp(draw.uniform(math.log(SLOWEST), math.log(FASTEST)))
    kind = draw.uniform(0, 1)
    angle = draw.uniform(-math.pi, math.pi)
    sideways, forward = kind < 0.65, kind > 0.45
    level = kind < 0.3  # as between the two cameras of a stereo pair
    # The second camera of a stereo pair stands at the right: the scene moves to the left.
    x = torch.where(level, -torch.ones_like(angle), angle.cos()) * sideways * speed / focal
    y = torch.where(level, torch.zeros_like(angle), angle.sin()) * sideways * speed / focal
    sign = torch.where(draw.uniform(0, 1) < 0.7, -1.0, 1.0)
    z = sign * forward * (speed / _RADIUS).clamp(max=_FURTHEST_STEP)
    # Rotation of a hand-held or turning camera.
    turns = torch.exp(draw.uniform(math.log(_TURN[0]), math.log(_TURN[1]), 3)) / focal[..., None]
    turns = turns * draw.normal(3).clamp(-2, 2) * ~level[..., None] * (draw.uniform(0, 1, 1) < 0.6)
    zero = torch.zeros_like(x)
    pitch, yaw, roll = turns.unbind(-1)
    skew = torch.stack((zero, -roll, yaw, roll, zero, -pitch, -yaw, pitch, zero), dim=-1)
    return torch.linalg.matrix_exp(skew.unflatten(-1, (3, 3))), torch.stack((x, y, z), dim=-1)


def _with_planes(
    scene: Scene,
    plane: Tensor,
    draw: Sampler,
    each: Sampler,
    focal: Tensor,
    size: tuple[int, int],
    half_plane: int,
) -> tuple[Scene, Tensor]:
    """Make some of the first layers ground, ceiling and walls; return the scene and all planes.

    Each covers its side of its vanishing line, beyond a margin, as the far end of a street does.

    Args:
        scene: the scene.
        plane: n / d of each layer, (B, K, 3).
        draw: draws a number for each scene.
        each: draws a number for each layer.
        focal: focal length in pixels, (B, 1).
        size: height and width of the frame.
        half_plane: index of the half-plane's outline.
    """
    layers = scene.mask.shape[1]
    half = torch.tensor([size[1] / 2, size[0] / 2])
    # Directions from the camera to the planes, ground more often than the others.
    ways = torch.tensor([[0.0, 1.0], [1.0, 0.0], [-1.0, 0.0], [0.0, -1.0]])
    order = torch.tensor([[1, 2, 0], [2, 1, 0], [0, 3, 0], [1, 0, 0]])
    way = ways[order[draw.integers(0, len(order))[:, 0]]]  # (B, PLANES, 2)
    there = (each.uniform(0, 1) < 0.5) & (torch.arange(layers) >= 1)
    there &= torch.arange(layers) <= PLANES
    way = torch.cat((way[:, :1], way, way[:, :1].expand(-1, layers - 1 - PLANES, -1)), dim=1)
    reach = (way.abs() * half).sum(-1)  # pixels from the vanishing line to the frame's edge
    distance = each.uniform(NEAREST, 3.0) * reach / focal
    normal = torch.cat((way, torch.zeros_like(way[..., :1])), dim=-1)
    plane = torch.where(there[..., None], normal / distance[..., None], plane)
    margin = each.uniform(0.01, 0.3) * reach
    edge = (half - 0.5) + way * margin[..., None]
    angle = -torch.atan2(way[..., 1], way[..., 0])
    to_mask = affine(angle, torch.full_like(angle, 1 / _HALF_PLANE_EXTENT), edge, -edge)
    scene = replace(
        scene,
        to_mask=torch.where(there[..., None, None], to_mask, scene.to_mask),
        mask=torch.where(there, half_plane, scene.mask),
        present=scene.present | there,
        bounded=scene.bounded & ~there,
    )
    return scene, plane
