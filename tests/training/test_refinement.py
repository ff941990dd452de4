"""Refined networks and their parts: against FlowNetS, NumPy's solver, SciPy's interpolation."""

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate, map_coordinates

from training.networks.downsampling import cells
from training.networks.flownets_pyramid import PyramidFlowNetS
from training.networks.layers import warp
from training.networks.refinement import (
    Refinement,
    gradient_maps,
    local_motion,
    visible,
    warp_cells,
)


def test_warp_against_scipy() -> None:
    """Some of it lies outside, where the nearest pixel of the border counts."""
    draw = np.random.default_rng(0)
    maps, flow = draw.normal(size=(2, 3, 7, 11)), 3 * draw.normal(size=(2, 7, 11, 2))
    y, x = np.mgrid[:7, :11]
    expected = [
        [
            map_coordinates(plane, (y + v, x + u), order=1, mode="nearest", prefilter=False)
            for plane in image
        ]
        for image, (u, v) in zip(maps, np.moveaxis(flow, 3, 1), strict=True)
    ]
    found = warp(torch.tensor(maps, dtype=torch.float32), torch.tensor(flow, dtype=torch.float32))
    np.testing.assert_allclose(found, np.array(expected), atol=1e-5)


def test_warp_keeps_the_fraction_of_a_pixel_in_half_precision() -> None:
    """A ramp moved by a quarter of a pixel, where float16 has steps of half a pixel."""
    ramp = (torch.arange(1024.0) - 1000).expand(1, 1, 2, 1024).half()
    flow = torch.full((1, 2, 1024, 2), 0.25).half()
    moved = warp(ramp, flow)
    assert moved.dtype == torch.float16
    assert moved[0, 0, :, 1000].tolist() == [0.25, 0.25]


@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_against_scipy(stride: int) -> None:
    images = np.random.default_rng(2).normal(size=(2, 2, 3, 12, 16))
    expected = []
    for image in images.reshape(4, 3, 12, 16):
        small = image.reshape(3, 12 // stride, stride, 16 // stride, stride).mean((2, 4))
        grey = np.array([0.299, 0.587, 0.114]) @ small.reshape(3, -1)
        smooth = correlate(
            grey.reshape(small.shape[1:]), np.outer([1, 2, 1], [1, 2, 1]) / 16, mode="nearest"
        )
        # The border's pixels are repeated before smoothing: away from it, both are alike.
        gy, gx = np.gradient(32 * smooth)
        expected.append([gx, gy])
    planes = torch.tensor(images, dtype=torch.float32).flatten(1, 2)
    found = gradient_maps(planes, stride=stride)
    inside = np.reshape(expected, (2, 4, 12 // stride, 16 // stride))[..., 2:-2, 2:-2]
    np.testing.assert_allclose(found[..., 2:-2, 2:-2], inside, rtol=1e-4, atol=1e-4)


def test_gradients_at_the_border_and_in_half_precision() -> None:
    """A ramp along x: half of its slope in the first and last columns, none along y."""
    ramp = (torch.arange(16.0) / 64).expand(1, 6, 8, 16)
    for images in (ramp, ramp.half()):
        found = gradient_maps(images, stride=1)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found[:, ::2, :, 2:-2], torch.full((1, 2, 8, 12), 0.5))
        assert (found[:, ::2, :, [0, -1]] < 0.5).all()
        torch.testing.assert_close(found[:, 1::2], torch.zeros(1, 2, 8, 16))


@pytest.mark.parametrize(("levels", "seen"), [(0, 0), (1, 1), (200, 1)])
def test_one_grey_level_is_visible(levels: int, seen: float) -> None:
    edge = torch.zeros(2, 6, 16, 16)
    edge[0, :3, :, 8:] = levels / 255
    found = visible(gradient_maps(edge, stride=1))
    torch.testing.assert_close(found.flatten(), torch.tensor([float(seen), 0.0]))


def test_cells_of_a_warp_move_alike() -> None:
    """Like a warp by the repeated flow."""
    torch.manual_seed(0)
    maps, flow = torch.randn(2, 3, 12, 20), 3 * torch.randn(2, 2, 6, 10)
    repeated = flow.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    expected = cells(warp(maps, repeated.permute(0, 2, 3, 1)))
    torch.testing.assert_close(warp_cells(maps, flow), expected, rtol=1e-4, atol=1e-4)


def local_motion_twin(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(C, H, W) float64 twice -> (5, H/2, W/2), window by window as a least-squares problem."""
    channels, height, width = first.shape
    middle = np.pad((first + second) / 2, ((0, 0), (1, 1), (1, 1)), mode="edge")
    gx = (middle[:, 1:-1, 2:] - middle[:, 1:-1, :-2]) / 2
    gy = (middle[:, 2:, 1:-1] - middle[:, :-2, 1:-1]) / 2
    gt = second - first
    result = np.zeros((5, height // 2, width // 2))
    for row in range(height // 2):
        for column in range(width // 2):
            normal, right, differs = np.zeros((2, 2)), np.zeros(2), 0.0
            for y in range(max(0, 2 * row - 2), min(height, 2 * row + 4)):
                for x in range(max(0, 2 * column - 2), min(width, 2 * column + 4)):
                    top, left = y // 2 * 2, x // 2 * 2  # of its cell, all of which weighs the same
                    difference = np.abs(gt[:, top : top + 2, left : left + 2]).mean()
                    weight = 1 / (difference + 0.03) / 36
                    differs += weight * difference
                    for channel in range(channels):
                        gradient = np.array((gx[channel, y, x], gy[channel, y, x]))
                        normal += weight * np.outer(gradient, gradient)
                        right -= weight * gradient * gt[channel, y, x]
            normal += 0.005 * np.eye(2)
            motion = np.linalg.solve(normal, right).clip(-2, 2)
            smaller, larger = np.linalg.eigvalsh(normal)
            roundness = 1 - ((larger - smaller) / (larger + smaller)) ** 2
            result[:, row, column] = *motion, roundness, np.log(np.trace(normal)), differs
    return result


def test_local_motion_against_a_solver() -> None:
    noise1, noise2 = np.random.default_rng(1).normal(size=(2, 3, 8, 12))
    # Darker by what three pixels of the slope are: more than the two that it says.
    first = 0.3 * np.arange(12) + 0.2 * noise1
    second = first - 0.9 + 0.2 * noise2
    planes = (cells(torch.tensor(x, dtype=torch.float32)[None]) for x in (first, second))
    found = local_motion(*planes)[0]
    np.testing.assert_allclose(found, local_motion_twin(first, second), rtol=1e-3, atol=1e-4)
    assert found[:2].abs().max() == 2
    assert found[:2].abs().min() < 0.5


def test_local_motion_of_a_moved_pattern() -> None:
    """Waves of 12 and 16 pixels, 0.4 pixels to the right and 0.3 up; along x alone; nothing."""
    y, x = np.mgrid[:32, :48].astype(np.float64)

    def pattern(u: float, v: float, rows: float = 1) -> torch.Tensor:
        waves = np.sin((x - u) / 12 * 2 * np.pi) + rows * np.cos((y - v) / 16 * 2 * np.pi)
        return cells(torch.tensor(waves, dtype=torch.float32)[None, None])

    found = local_motion(pattern(0, 0), pattern(0.4, -0.3))[0, :, 3:-3, 3:-3]
    np.testing.assert_allclose(found[0], 0.4, atol=0.05)
    np.testing.assert_allclose(found[1], -0.3, atol=0.05)
    assert found[2].min() > 0.15
    found = local_motion(pattern(0, 0, rows=0), pattern(0.4, -0.3, rows=0))[0, :, 3:-3, 3:-3]
    np.testing.assert_allclose(found[0], 0.4, atol=0.05)
    np.testing.assert_array_equal(found[1], 0)
    assert found[2].max() < 0.1
    flat = torch.zeros(1, 1, 2, 2, 4, 8)
    motion, varies, differs = local_motion(flat, flat)[0].split([2, 2, 1])
    assert torch.equal(motion, torch.zeros(2, 4, 8))
    assert torch.equal(differs, torch.zeros(1, 4, 8))
    assert varies[1].max() < -4  # less than anywhere else


def test_each_step_starts_from_the_flow_of_the_step_before() -> None:
    torch.manual_seed(0)
    refinement = Refinement(4, hidden=8, coarser=6).eval()
    flow, context, coarser = (
        torch.randn(1, 2, 8, 16),
        torch.randn(1, 4, 8, 16),
        torch.randn(1, 6, 4, 8),
    )
    maps = torch.randn(1, 4, 16, 32)

    def refined(flow: torch.Tensor, steps: int) -> tuple[torch.Tensor, ...]:
        return refinement(flow, context, maps, scale=2.0, coarser=coarser, steps=steps)[0]

    with torch.no_grad():
        (once,) = refined(flow, 1)
        (twice,) = refined(once, 1)
        last, first = refined(flow, 2)
    torch.testing.assert_close(first, once)
    torch.testing.assert_close(last, twice)
    assert not torch.allclose(first, last)


@pytest.fixture
def pyramid() -> PyramidFlowNetS:
    torch.manual_seed(0)
    return PyramidFlowNetS(width=1 / 16).eval()


def test_the_pyramid_begins_with_the_mean_of_two_by_two_pixels(pyramid: PyramidFlowNetS) -> None:
    images = torch.randn(1, 6, 64, 128)
    torch.testing.assert_close(pyramid.halve(images), torch.nn.functional.avg_pool2d(images, 2))


def test_the_pyramid_sees_what_each_flow_leaves(pyramid: PyramidFlowNetS) -> None:
    """Of 8 pixels 5 are found, and 2 more by the first refinement.

    A pixel is a quarter of one in the maps of the first, half of one in those of the second.
    """
    y, x = np.mgrid[:128, :256] * 2 * np.pi
    image = torch.tensor(np.sin(x / 64) + np.cos(y / 64), dtype=torch.float32)
    image = image.expand(1, 3, 128, 256)
    seen: dict[str, torch.Tensor] = {}

    def find(layer: torch.nn.Conv2d, pixels: float) -> None:
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor([pixels, 0.0]) / pyramid.flow_scale)

    with torch.no_grad():
        find(pyramid.predict_flow2, 5)
        find(pyramid.refinement8.predict_residual, 2)
        find(pyramid.refinement4.predict_residual, 0)
        for name in ("refinement8", "refinement4"):
            left = pyramid.get_submodule(name).left
            left.register_forward_pre_hook(lambda _, x, name=name: seen.update({name: x[0]}))
        fine, _, coarse, flow, *_ = pyramid(image, image.roll(8, dims=3))
    for name, expected in (("refinement8", 3 / 4), ("refinement4", 1 / 2)):
        inside = seen[name][0, :, 4:-4, 8:-8]
        # Where the waves are flat the damping makes it less.
        np.testing.assert_allclose(np.median(inside[0]), expected, atol=0.1, err_msg=name)
        np.testing.assert_allclose(np.median(inside[1]), 0, atol=0.1, err_msg=name)
    for found, pixels in ((flow, 5), (coarse, 7), (fine, 7)):
        np.testing.assert_allclose(found[0, 0] * pyramid.flow_scale, pixels, rtol=1e-5)


def test_each_loss_of_the_pyramid_reaches_its_own_level(pyramid: PyramidFlowNetS) -> None:
    fine, *_ = pyramid(*torch.randn(2, 1, 3, 64, 64))
    fine.sum().backward()
    assert pyramid.predict_flow2.weight.grad is None
    assert pyramid.refinement8.predict_residual.weight.grad is None
    # But what the coarser level knows is asked for.
    assert pyramid.refinement8.hidden[0].weight.grad.abs().sum() > 0  # type: ignore[index]
