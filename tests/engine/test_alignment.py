"""Shared motion taken out first: the move itself, what is added again, and what it is good for."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import engine
from engine.bundle.manifest import SizeProfile
from engine.errors import BackendError, InputError
from engine.global_motion import AlignedBackend, moved_back
from engine.loader import DEFAULT_BUNDLE
from tests.support.cpu import needs_int8


@given(st.data(), st.integers(1, 9), st.integers(1, 9), st.integers(1, 3))
def test_moved_back_is_indexing_with_what_is_outside_brought_to_the_border(
    data, height, width, count
):
    sides = st.tuples(*(st.integers(1 - side, side - 1) for side in (width, height)))
    motion = data.draw(st.lists(sides, min_size=count, max_size=count))
    images = np.arange(count * height * width * 3, dtype=np.uint32).astype(np.uint8)
    images = images.reshape(count, height, width, 3)
    moved = moved_back(images, np.array(motion))
    for image, result, (x, y) in zip(images, moved, motion, strict=True):
        rows = np.clip(np.arange(height) + y, 0, height - 1)
        columns = np.clip(np.arange(width) + x, 0, width - 1)
        np.testing.assert_array_equal(result, image[rows[:, None], columns])


def test_what_does_not_move_is_not_copied():
    images = np.zeros((2, 4, 6, 3), np.uint8)
    assert moved_back(images, np.zeros((2, 2), np.int64)) is images


class Told:
    """A backend that is told the flow of small pictures, and what is left of it in large ones."""

    name, device, runtime_version, profile = "told", "cpu", "1", None

    def __init__(self, small, left, least=100):
        self.small, self.left, self.least = small, left, least
        self.seen, self.closed = [], False

    def prepare(self, image):
        return SimpleNamespace(image=image)

    def run(self, first, second):
        count, height, width, _ = first.image.shape
        self.seen.append((first.image, second.image))
        flow = self.small if min(height, width) < self.least else self.left
        return np.broadcast_to(
            np.float32(flow).reshape(-1, 1, 1, 2), (count, height, width, 2)
        ).copy()

    def device_ms(self):
        return 1.5

    def close(self):
        self.closed = True


def test_the_motion_of_each_pair_by_hand(rng):
    """Twice 256x512: of a sixteenth of the pixels, 4 times 2.6 and -1.1 are 10.4 and -4.4."""
    first, second = rng.integers(0, 256, (2, 2, 256, 512, 3), dtype=np.uint8)
    told = Told(small=[[2.6, -1.1], [0, 7]], left=[[0.25, 0.5], [1, 2]])
    aligned = AlignedBackend(told, 64)
    flow = aligned.run(aligned.prepare(first), aligned.prepare(second))
    assert flow.shape == (2, 256, 512, 2)
    assert np.unique(flow[0].reshape(-1, 2), axis=0).tolist() == [[10.25, -3.5]]
    assert np.unique(flow[1].reshape(-1, 2), axis=0).tolist() == [[1, 30]]
    (small, _), (large1, large2) = told.seen
    np.testing.assert_array_equal(small, first[:, ::4, ::4])
    np.testing.assert_array_equal(large1, first)
    np.testing.assert_array_equal(large2, moved_back(second, np.array([[10, -4], [0, 28]])))


@pytest.mark.parametrize(
    ("size", "small"), [((64, 64), (64, 64)), ((128, 512), (64, 256)), ((320, 192), (128, 64)),
                        ((1088, 1920), (320, 512))]
)  # fmt: skip
def test_small_pictures_are_not_made_smaller_than_a_block(size, small):
    """320x192: a third, 107x64, padded to 128x64; 1088x1920: a quarter, 272x480."""
    told = Told(small=[[1, 1]], left=[[0, 0]], least=0)
    images = np.zeros((2, 1, *size, 3), np.uint8)
    AlignedBackend(told, 64).run(*images)
    assert told.seen[0][0].shape[1:3] == small


def test_padding_has_no_say(rng):
    """Of 272x480 in 320x512 the padding is a fifth of what the network sees."""

    class Padded(Told):
        def run(self, first, second):
            flow = super().run(first, second)
            if flow.shape[1] < 1088:
                flow[:, 272:], flow[:, :, 480:] = np.nan, np.nan
            return flow

    images = np.zeros((2, 1, 1088, 1920, 3), np.uint8)
    flow = AlignedBackend(Padded(small=[[3, 4]], left=[[0, 0]], least=1000), 64).run(*images)
    assert np.unique(flow.reshape(-1, 2), axis=0).tolist() == [[12, 16]]


@pytest.mark.parametrize(
    ("small", "expected"),
    [((np.nan, 1), (0, 4)), ((np.inf, -np.inf), (511, -255)), ((1e30, -65), (511, -255))],
)
def test_nothing_moves_further_than_the_picture_is_wide(small, expected):
    told = Told(small=[small], left=[[0, 0]])
    flow = AlignedBackend(told, 64).run(*np.zeros((2, 1, 256, 512, 3), np.uint8))
    assert np.unique(flow.reshape(-1, 2), axis=0).tolist() == [list(expected)]


def test_a_plan_sees_no_copy_that_is_too_small_for_it():
    told = Told(small=[[1, 1]], left=[[0, 0]], least=200)
    told.profile = SizeProfile((1, 128, 192), (1, 256, 256), (1, 512, 512))
    aligned = AlignedBackend(told, 64)
    aligned.run(*np.zeros((2, 1, 256, 256, 3), np.uint8))
    assert told.seen[0][0].shape == (1, 128, 192, 3)
    assert aligned.profile is told.profile


def test_the_rest_is_the_backends():
    told = Told(small=[[0, 0]], left=[[0, 0]])
    aligned = AlignedBackend(told, 64)
    assert (aligned.name, aligned.device, aligned.runtime_version) == ("told (aligned)", "cpu", "1")
    assert aligned.device_ms() == 1.5
    aligned.close()
    assert told.closed


@pytest.fixture
def pair(rng):
    return rng.integers(0, 256, (2, 130, 150, 3), dtype=np.uint8)


def test_all_ways_to_ask_give_the_same(tiny_bundle, pair):
    with engine.load(tiny_bundle, backend="onnxruntime", threads=1, align=True) as aligned:
        flow = aligned.infer(*pair)
        assert flow.shape == (130, 150, 2)
        (streamed,) = aligned.stream(pair)
        (of_many,) = aligned.infer_many([pair])
        batch = aligned.infer(*(np.stack([image] * 2) for image in pair))
        for other in (streamed, of_many, aligned.infer_async(*pair).result(), *batch):
            np.testing.assert_allclose(other, flow, atol=1e-4)
        with pytest.raises(BackendError, match=r"onnxruntime \(aligned\) takes no arrays on a GPU"):
            aligned.infer_device(*pair)


def test_what_align_may_be(tiny_bundle):
    with pytest.raises(InputError, match="align is 1; expected True or False"):
        engine.load(tiny_bundle, align=1)


@needs_int8
def test_a_camera_that_moved_is_seen_better(rng):
    """Noise of many sizes under a shift that the shipped network alone is bad at."""
    shift = np.array([46, -34])
    canvas = np.zeros((600, 800, 3))
    for cell in (4, 16, 64):
        coarse = rng.uniform(0, 85, (600 // cell + 1, 800 // cell + 1, 3))
        canvas += coarse.repeat(cell, 0).repeat(cell, 1)[:600, :800]
    images = [
        canvas[y : y + 384, x : x + 512].round().astype(np.uint8)
        for x, y in ((100, 100), (100 - shift[0], 100 - shift[1]))
    ]
    errors = []
    for align in (False, True):
        with engine.load(DEFAULT_BUNDLE, threads=1, align=align) as loaded:
            flow = loaded.infer(*images)
        # Not where the picture of the second camera ends.
        errors.append(np.linalg.norm(flow - shift, axis=-1)[64:-64, 64:-64].mean())
    assert errors[1] < errors[0] / 3
    assert errors[1] < 1
