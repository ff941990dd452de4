"""Scenes before a moving camera: each layer moves as its plane in depth does."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from training.synthetic.camera import FASTEST, PLANES, _in_depth, draw_scene_before_camera
from training.synthetic.render import SyntheticPairs, boxes
from training.synthetic.scene import Scene, apply_affine, apply_homography, draw_scene
from training.synthetic.shapes import STORED, half_plane

HEIGHT, WIDTH, HALF_PLANE = 96, 128, 5


def scene(seed: int, batch: int = 8) -> Scene:
    return draw_scene_before_camera(
        batch, HEIGHT, WIDTH, textures=3, masks=HALF_PLANE + 1, seed=seed
    )


seeds = st.integers(0, 2**31)


@given(seeds)
@settings(max_examples=10, deadline=None)
def test_layers_lie_before_both_cameras(seed: int) -> None:
    """Nowhere in the frame is a layer without a vanishing line near infinity."""
    drawn = scene(seed)
    free = drawn.bounded
    corners = torch.tensor([[0.0, WIDTH, 0, WIDTH], [0, 0, HEIGHT, HEIGHT], [1, 1, 1, 1]])
    w = (drawn.motion @ corners)[..., 2, :]
    assert (w[free] > 0.2).all()
    assert torch.isfinite(drawn.motion).all()


@given(seeds)
@settings(max_examples=10, deadline=None)
def test_planes_move_by_finite_motion(seed: int) -> None:
    """Where their outline covers them."""
    drawn = scene(seed, batch=4)
    y, x = torch.meshgrid(torch.arange(0.0, HEIGHT), torch.arange(0.0, WIDTH), indexing="ij")
    for motion, to_mask in zip(
        drawn.motion[drawn.mask == HALF_PLANE], drawn.to_mask[drawn.mask == HALF_PLANE], strict=True
    ):
        inside = apply_affine(to_mask, x, y)[0] > 0
        u, v = apply_homography(motion, x, y)
        moved = torch.hypot(u - x, v - y)[inside]
        assert torch.isfinite(moved).all()
        assert moved.numel() == 0 or moved.max() < 8 * FASTEST * WIDTH


@given(seeds)
@settings(max_examples=10, deadline=None)
def test_far_objects_lie_behind_near_ones(seed: int) -> None:
    """Where the camera moves sideways without turning, layers drawn later move further."""
    plain = draw_scene(8, HEIGHT, WIDTH, textures=3, masks=HALF_PLANE, seed=seed)
    # No object moves by itself.
    still = replace(plain, motion=torch.eye(3).expand_as(plain.motion))
    drawn = _in_depth(still, HEIGHT, WIDTH, HALF_PLANE, seed)
    middle = torch.tensor([(WIDTH - 1) / 2, (HEIGHT - 1) / 2, 1.0])
    place = drawn.motion @ middle
    steps = (place[..., :2] / place[..., 2:] - middle[:2]).norm(dim=-1)
    flat = torch.eye(2).expand_as(drawn.motion[..., :2, :2])
    shifts = (drawn.motion[..., :2, :2] - flat).abs().amax((-1, -2)) < 1e-6
    shifts &= drawn.mask != HALF_PLANE
    for row, one in zip(steps, shifts, strict=True):
        assert (row[one].diff() > -1e-3).all()


def test_seed_decides() -> None:
    torch.testing.assert_close(vars(scene(3)), vars(scene(3)), rtol=0, atol=0)
    assert not torch.equal(scene(3).motion, scene(4).motion)


def test_homography_of_an_affine_map() -> None:
    matrix = torch.tensor([[1.1, 0.2, 3.0], [-0.1, 0.9, -2.0], [0, 0, 1]])
    x, y = torch.arange(5.0), torch.arange(4.0)[:, None]
    for found, expected in zip(
        apply_homography(matrix, x, y), apply_affine(matrix, x, y), strict=True
    ):
        torch.testing.assert_close(found, expected)


def test_half_plane() -> None:
    (outline,) = half_plane()
    assert (outline[:, : STORED // 2] < 0).all()
    assert (outline[:, STORED // 2 :] > 0).all()


def test_layers_without_bounds_are_drawn_everywhere() -> None:
    to_mask = torch.eye(3).expand(1, 2, 3, 3)
    present = torch.ones(1, 2, dtype=torch.bool)
    one, other = boxes(to_mask, present, torch.tensor([[True, False]]), 30, 40)
    assert one == (slice(0, 2), slice(0, 2))
    assert other == (slice(0, 30), slice(0, 40))


@pytest.mark.parametrize("seed", range(2))
def test_the_flow_is_what_the_renderer_moved(seed: int) -> None:
    """Image 2 has image 1's colour where the flow leads."""
    pairs = SyntheticPairs(HEIGHT, WIDTH, scenes="camera").render(6, seed=100 + seed)
    y = torch.arange(HEIGHT)[:, None] + pairs.flow[:, 1]
    x = torch.arange(WIDTH)[None, :] + pairs.flow[:, 0]
    grid = torch.stack(((2 * x + 1) / WIDTH - 1, (2 * y + 1) / HEIGHT - 1), dim=-1)
    back = F.grid_sample(pairs.image2.float(), grid, align_corners=False)
    seen = (grid.abs() < 1).all(-1) & ~pairs.occluded[:, 0]
    seen &= F.max_pool2d((~seen).float()[:, None], 5, 1, 2)[:, 0] == 0
    error = (back - pairs.image1.float()).abs().mean(1)
    assert error[seen].median() < 2.5


def test_motion_spans_decades() -> None:
    drawn = scene(0, batch=400)
    centre = torch.tensor([WIDTH / 2, HEIGHT / 2, 1.0])
    place = drawn.motion[:, 0] @ centre
    speed = (place[:, :2] / place[:, 2:] - centre[:2]).norm(dim=-1)
    assert (speed == 0).float().mean() > 0.01
    moving = speed[speed > 0]
    assert moving.quantile(0.9) / moving.quantile(0.1) > 100
    planes = (drawn.mask == HALF_PLANE).sum(1)
    assert planes.max() <= PLANES
    assert math.isclose((planes > 0).float().mean(), 0.5, abs_tol=0.15)
