"""Global motion compensation: the shift, the estimate, and its effect under camera motion."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import engine
from engine.bundle.manifest import SizeProfile
from engine.decorators.global_motion import GlobalMotionBackend, shift
from engine.errors import BackendError, InputError
from engine.loader import DEFAULT_BUNDLE
from tests.support.cpu import needs_int8


@given(st.data(), st.integers(1, 9), st.integers(1, 9), st.integers(1, 3))
def test_shift_is_indexing_with_clamped_coordinates(data, height, width, count):
    sides = st.tuples(*(st.integers(1 - side, side - 1) for side in (width, height)))
    motion = data.draw(st.lists(sides, min_size=count, max_size=count))
    images = np.arange(count * height * width * 3, dtype=np.uint32).astype(np.uint8)
    images = images.reshape(count, height, width, 3)
    moved = shift(images, np.array(motion))
    for image, result, (x, y) in zip(images, moved, motion, strict=True):
        rows = np.clip(np.arange(height) + y, 0, height - 1)
        columns = np.clip(np.arange(width) + x, 0, width - 1)
        np.testing.assert_array_equal(result, image[rows[:, None], columns])


def test_zero_motion_is_not_copied():
    images = np.zeros((2, 4, 6, 3), np.uint8)
    assert shift(images, np.zeros((2, 2), np.int64)) is images


class FixedFlow:
    """A backend with one flow for images below ``least`` pixels high or wide, one for others."""

    name, device, runtime_version, profile = "fixed", "cpu", "1", None

    def __init__(self, small, large, least=100):
        self.small, self.large, self.least = small, large, least
        self.seen, self.closed = [], False

    def prepare(self, image):
        return SimpleNamespace(image=image)

    def run(self, first, second):
        count, height, width, _ = first.image.shape
        self.seen.append((first.image, second.image))
        flow = self.small if min(height, width) < self.least else self.large
        return np.broadcast_to(
            np.float32(flow).reshape(-1, 1, 1, 2), (count, height, width, 2)
        ).copy()

    def device_ms(self):
        return 1.5

    def close(self):
        self.closed = True


def test_each_pair_has_its_own_motion(rng):
    """Twice 256x512: of a sixteenth of the pixels, 4 times 2.6 and -1.1 are 10.4 and -4.4."""
    first, second = rng.integers(0, 256, (2, 2, 256, 512, 3), dtype=np.uint8)
    fixed = FixedFlow(small=[[2.6, -1.1], [0, 7]], large=[[0.25, 0.5], [1, 2]])
    compensated = GlobalMotionBackend(fixed, 64)
    flow = compensated.run(compensated.prepare(first), compensated.prepare(second))
    assert flow.shape == (2, 256, 512, 2)
    assert np.unique(flow[0].reshape(-1, 2), axis=0).tolist() == [[10.25, -3.5]]
    assert np.unique(flow[1].reshape(-1, 2), axis=0).tolist() == [[1, 30]]
    (small, _), (large1, large2) = fixed.seen
    np.testing.assert_array_equal(small, first[:, ::4, ::4])
    np.testing.assert_array_equal(large1, first)
    np.testing.assert_array_equal(large2, shift(second, np.array([[10, -4], [0, 28]])))


@pytest.mark.parametrize(
    ("size", "small"), [((64, 64), (64, 64)), ((128, 512), (64, 256)), ((320, 192), (128, 64)),
                        ((1088, 1920), (320, 512))]
)  # fmt: skip
def test_the_copy_is_not_smaller_than_the_divisor(size, small):
    """320x192: a third, 107x64, padded to 128x64; 1088x1920: a quarter, 272x480."""
    fixed = FixedFlow(small=[[1, 1]], large=[[0, 0]], least=0)
    images = np.zeros((2, 1, *size, 3), np.uint8)
    GlobalMotionBackend(fixed, 64).run(*images)
    assert fixed.seen[0][0].shape[1:3] == small


def test_padding_does_not_affect_the_estimate(rng):
    """272x480 padded to 320x512: a fifth of the input is padding."""

    class Padded(FixedFlow):
        def run(self, first, second):
            flow = super().run(first, second)
            if flow.shape[1] < 1088:
                flow[:, 272:], flow[:, :, 480:] = np.nan, np.nan
            return flow

    images = np.zeros((2, 1, 1088, 1920, 3), np.uint8)
    flow = GlobalMotionBackend(Padded(small=[[3, 4]], large=[[0, 0]], least=1000), 64).run(*images)
    assert np.unique(flow.reshape(-1, 2), axis=0).tolist() == [[12, 16]]


@pytest.mark.parametrize(
    ("small", "expected"),
    [((np.nan, 1), (0, 4)), ((np.inf, -np.inf), (511, -255)), ((1e30, -65), (511, -255))],
)
def test_motion_is_limited_to_the_image(small, expected):
    fixed = FixedFlow(small=[small], large=[[0, 0]])
    flow = GlobalMotionBackend(fixed, 64).run(*np.zeros((2, 1, 256, 512, 3), np.uint8))
    assert np.unique(flow.reshape(-1, 2), axis=0).tolist() == [list(expected)]


def test_the_copy_is_not_smaller_than_the_profile():
    fixed = FixedFlow(small=[[1, 1]], large=[[0, 0]], least=200)
    fixed.profile = SizeProfile((1, 128, 192), (1, 256, 256), (1, 512, 512))
    compensated = GlobalMotionBackend(fixed, 64)
    compensated.run(*np.zeros((2, 1, 256, 256, 3), np.uint8))
    assert fixed.seen[0][0].shape == (1, 128, 192, 3)
    assert compensated.profile is fixed.profile


def test_other_attributes_are_the_backends():
    fixed = FixedFlow(small=[[0, 0]], large=[[0, 0]])
    compensated = GlobalMotionBackend(fixed, 64)
    assert (compensated.name, compensated.device, compensated.runtime_version) == (
        "fixed (motion compensated)",
        "cpu",
        "1",
    )
    assert compensated.device_ms() == 1.5
    compensated.close()
    assert fixed.closed


@pytest.fixture
def pair(rng):
    return rng.integers(0, 256, (2, 130, 150, 3), dtype=np.uint8)


def test_all_methods_agree(tiny_bundle, pair):
    with engine.load(
        tiny_bundle, backend="onnxruntime", threads=1, compensate_motion=True
    ) as compensated:
        flow = compensated.infer(*pair)
        assert flow.shape == (130, 150, 2)
        (streamed,) = compensated.stream(pair)
        (of_many,) = compensated.infer_many([pair])
        batch = compensated.infer(*(np.stack([image] * 2) for image in pair))
        for other in (streamed, of_many, compensated.infer_async(*pair).result(), *batch):
            np.testing.assert_allclose(other, flow, atol=1e-4)
        with pytest.raises(
            BackendError, match=r"onnxruntime \(motion compensated\) takes no arrays on a GPU"
        ):
            compensated.infer_device(*pair)


def test_the_argument(tiny_bundle):
    with pytest.raises(InputError, match="compensate_motion is 1; expected True or False"):
        engine.load(tiny_bundle, compensate_motion=1)
    with pytest.warns(
        DeprecationWarning, match="align is deprecated .*; use compensate_motion"
    ) as seen:
        engine.load(tiny_bundle, align=True).close()
    assert seen[0].filename == __file__


@needs_int8
def test_camera_motion_is_estimated_better(rng):
    """Noise of several scales, shifted by more than the default network estimates well."""
    motion = np.array([46, -34])
    canvas = np.zeros((600, 800, 3))
    for cell in (4, 16, 64):
        coarse = rng.uniform(0, 85, (600 // cell + 1, 800 // cell + 1, 3))
        canvas += coarse.repeat(cell, 0).repeat(cell, 1)[:600, :800]
    images = [
        canvas[y : y + 384, x : x + 512].round().astype(np.uint8)
        for x, y in ((100, 100), (100 - motion[0], 100 - motion[1]))
    ]
    errors = []
    for compensate in (False, True):
        with engine.load(DEFAULT_BUNDLE, threads=1, compensate_motion=compensate) as loaded:
            flow = loaded.infer(*images)
        # Without the border, which the second image does not show.
        errors.append(np.linalg.norm(flow - motion, axis=-1)[64:-64, 64:-64].mean())
    assert errors[1] < errors[0] / 3
    assert errors[1] < 1
