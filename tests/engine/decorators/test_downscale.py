"""Images downscaled before inference: what the backend gets, the flow, and the arguments."""

import itertools

import numpy as np
import pytest

import engine
from engine.decorators.downscale import DownscaledBackend
from engine.errors import BackendError, BackendNotInstalledError, InputError
from tests.support.fake_backend import FakeBackend


class Constant(FakeBackend):
    """Returns the flow (2, 3) and keeps its inputs."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def run(self, first, second):
        self.seen += [first, second]
        return super().run(first, second) + np.float32((2, 3))


def run(downscaled, *images):
    return downscaled.run(*map(downscaled.prepare, images))


def test_images_are_averaged_and_flow_is_scaled(rng):
    """256x512 at a longer side of 128: blocks of 4x4; 64x128 of the network, flow times 4."""
    inner = Constant()
    images = rng.integers(0, 256, (2, 2, 256, 512, 3), dtype=np.uint8)
    flow = run(DownscaledBackend(inner, 128, divisor=64), *images)
    blocks = images.reshape(2, 2, 64, 4, 128, 4, 3).mean(axis=(3, 5))
    np.testing.assert_allclose(inner.seen, blocks, atol=0.5)
    assert flow.shape == (2, 256, 512, 2)
    np.testing.assert_array_equal(flow, np.broadcast_to(np.float32((8, 12)), flow.shape))


def test_each_axis_has_its_own_ratio():
    """192x640 at 128: 38.4 rows are 38, padded to 64; 640/128 = 5, 192/38 = 5.0526."""
    inner = Constant()
    downscaled = DownscaledBackend(inner, 128, divisor=64)
    flow = run(downscaled, *np.zeros((2, 1, 192, 640, 3), np.uint8))
    assert inner.seen[0].shape == (1, 64, 128, 3)
    assert downscaled.network_size((192, 640)) == (64, 128)
    np.testing.assert_allclose(flow[0, 100, 300], (2 * 5, 3 * 192 / 38), rtol=1e-6)


def test_flow_is_interpolated_between_the_centres_of_the_small_pixels(rng):
    """A ramp of 1 px a small pixel is a ramp of 2/2 px a pixel, away from the border."""

    class Ramp(FakeBackend):
        def run(self, first, second):
            flow = super().run(first, second)
            flow[..., 0] += np.arange(flow.shape[2])
            return flow

    flow = run(DownscaledBackend(Ramp(), 64, divisor=64), *np.zeros((2, 1, 128, 128, 3), np.uint8))
    # The centre of pixel x is at (x + 0.5) / 2 - 0.5 of the small image.
    expected = ((np.arange(128) + 0.5) / 2 - 0.5) * 2
    np.testing.assert_allclose(flow[0, 50, 1:-1, 0], expected[1:-1], atol=1e-5)


def test_smaller_images_are_untouched(rng):
    """A side of 100 is 128 for a network with divisor 64."""
    inner = Constant()
    images = rng.integers(0, 256, (2, 1, 64, 128, 3), dtype=np.uint8)
    flow = run(DownscaledBackend(inner, 100, divisor=64), *images)
    assert inner.seen[0] is images[0] or np.shares_memory(inner.seen[0], images)
    np.testing.assert_array_equal(flow[0, 0, 0], (2, 3))


def test_a_side_below_the_networks_smallest():
    inner = Constant()
    images = np.zeros((2, 1, 512, 512, 3), np.uint8)
    run(DownscaledBackend(inner, 8, divisor=8, smallest=128), *images)
    assert inner.seen[0].shape == (1, 128, 128, 3)


@pytest.mark.parametrize("bundle", ["tiny_bundle", "tiny_split_bundle"])
def test_all_methods_agree(bundle, request, rng):
    frames = rng.integers(0, 256, (3, 211, 301, 3), dtype=np.uint8)
    with engine.load(
        request.getfixturevalue(bundle), backend="onnxruntime", threads=1, max_side=128
    ) as small:
        assert small.backend.name == "onnxruntime (max side 128)"
        expected = [small.infer(frames[0], frames[1]), small.infer(frames[1], frames[2])]
        assert expected[0].shape == (211, 301, 2)
        for flows in (
            small.infer(frames[:2], frames[1:]),
            list(small.stream(frames)),
            list(small.infer_many(itertools.pairwise(frames))),
        ):
            np.testing.assert_allclose(flows, expected, atol=1e-4)
        with pytest.raises(BackendError, match=r"\(max side 128\) takes no arrays on a GPU"):
            small.infer_device(*frames[:2])


def test_tiles_of_a_downscaled_image(tiny_bundle, rng):
    images = rng.integers(0, 256, (2, 512, 1280, 3), dtype=np.uint8)
    flows = []
    for tile in (None, 256):
        with engine.load(
            tiny_bundle, backend="onnxruntime", threads=1, max_side=640, tile=tile
        ) as loaded:
            flows.append(loaded.infer(*images))
    np.testing.assert_allclose(*flows, atol=1e-3)


@pytest.mark.parametrize("max_side", [0, -5, 960.0, True, "960"])
def test_the_argument(tiny_bundle, max_side):
    with pytest.raises(
        InputError, match=f"max_side is {max_side!r}; expected a number of pixels from 1 up, for"
    ):
        engine.load(tiny_bundle, max_side=max_side)


def test_opencv_is_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(BackendNotInstalledError, match=r"max_side needs OpenCV, .* Install it"):
        DownscaledBackend(FakeBackend(), 100, divisor=64)
