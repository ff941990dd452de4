"""Global motion compensation: the estimate, its check, known motion, its effect."""

from types import SimpleNamespace

import numpy as np
import pytest

import engine
from engine.bundle.manifest import SizeProfile, read_manifest
from engine.bundle.shipped import DEFAULT_BUNDLE
from engine.decorators.global_motion import GlobalMotionBackend, is_large
from engine.engine import FlowEngine
from engine.errors import BackendError, InputError
from engine.flow.affine import IDENTITY, translation
from tests.support.cpu import needs_int8


class FixedFlow:
    """A backend with one flow for images below ``least`` pixels high or wide, one for others."""

    name, device, runtime_version, arithmetic = "fixed", "cpu", "1", "float32"
    profile = None

    def __init__(self, small, large, least=100):
        self.small, self.large, self.least = small, large, least
        self.seen, self.closed = [], False

    def prepare(self, image):
        return SimpleNamespace(image=image)

    def run(self, first, second):
        count, height, width, _ = first.image.shape
        self.seen.append((first.image, second.image))
        flow = self.small if min(height, width) < self.least else self.large
        whole = np.broadcast_to(
            np.float32(flow).reshape(-1, 1, 1, 2), (count, height + 1, width + 1, 2)
        ).copy()
        return whole[:, :height, :width]  # as of a backend that crops

    def device_ms(self):
        return 1.5

    def close(self):
        self.closed = True


def views(rng, count, size=(256, 512)):
    """Images of a random texture of blocks; pixels move by (8, -4) from each to the next."""
    height, width = size
    texture = rng.integers(0, 256, (120, 160, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    corners = [(100 - 8 * index, 100 + 4 * index) for index in range(count)]
    return [np.ascontiguousarray(texture[y : y + height, x : x + width]) for x, y in corners]


def test_each_pair_has_its_own_motion(rng):
    """The copies' flow of (2, -1) is (8, -4) in the images, that of (0, 0) no motion."""
    one, two = views(rng, 2)
    first, second = np.stack([one, one]), np.stack([two, two])
    fixed = FixedFlow(small=[[2, -1], [0, 0]], large=[[0.25, 0.5], [1, 2]])
    compensated = GlobalMotionBackend(fixed, 64)
    flow = compensated.run(compensated.prepare(first), compensated.prepare(second))
    assert flow.shape == (2, 256, 512, 2)
    np.testing.assert_allclose(flow[0], np.broadcast_to([8.25, -3.5], (256, 512, 2)), atol=1e-4)
    np.testing.assert_array_equal(flow[1], np.broadcast_to([1, 2], (256, 512, 2)))
    (small, _), (large1, large2) = fixed.seen
    np.testing.assert_array_equal(small, first[:, ::4, ::4])
    np.testing.assert_array_equal(large1, first)
    np.testing.assert_array_equal(large2[0, 4:, :-8], one[4:, :-8])  # aligned
    np.testing.assert_array_equal(large2[1], two)


@pytest.mark.parametrize("motion", [(-8, 4), (8, 4), (0, 30), (400, 0), (1e30, -1e30)])
def test_a_motion_that_explains_nothing_is_not_used(rng, motion):
    """The pixels move by (8, -4); (400, 0) leaves too little of the image."""
    first, second = (image[np.newaxis] for image in views(rng, 2))
    fixed = FixedFlow(small=[np.divide(motion, 4)], large=[[0.25, 0.5]])
    flow = GlobalMotionBackend(fixed, 64).run(first, second)
    np.testing.assert_array_equal(flow, np.broadcast_to(np.float32([0.25, 0.5]), flow.shape))
    np.testing.assert_array_equal(fixed.seen[-1][1], second)


def test_a_motion_without_numbers_is_not_used(rng):
    first, second = (image[np.newaxis] for image in views(rng, 2))
    fixed = FixedFlow(small=[[np.nan, np.inf]], large=[[0.25, 0.5]])
    flow = GlobalMotionBackend(fixed, 64).run(first, second)
    np.testing.assert_array_equal(flow, np.broadcast_to(np.float32([0.25, 0.5]), flow.shape))


def noise(rng):
    return (128 + 3 * rng.standard_normal((256, 512, 3))).round().astype(np.uint8)


def on_background(rng, left, level):
    image = np.full((256, 512, 3), level, np.uint8)
    image[100:140, left : left + 40] = rng.integers(60, 190, (40, 40, 3), dtype=np.uint8)
    return image


NO_EVIDENCE = {
    "white": lambda rng: [np.full((256, 512, 3), 255, np.uint8)] * 2,
    "black": lambda rng: [np.zeros((256, 512, 3), np.uint8)] * 2,
    "noise": lambda rng: [noise(rng), noise(rng)],
    "identical": lambda rng: [noise(rng)] * 2,
    "an object on black": lambda rng: [on_background(rng, left, 0) for left in (200, 208)],
    "an object on white": lambda rng: [on_background(rng, left, 255) for left in (200, 208)],
}


@pytest.mark.parametrize("motion", [(8, 0), (7.5, 4.5), (60.3, -20.4)])
@pytest.mark.parametrize("images", NO_EVIDENCE.values(), ids=NO_EVIDENCE)
def test_images_without_evidence_of_a_motion_are_not_aligned(rng, images, motion):
    """The network gets both images as they are, whatever it takes the motion of its copies for.

    Interpolation between noisy pixels averages them: at half pixels the difference of two images
    of noise alone is 0.79 times as large, which is no evidence.
    """
    first, second = (image[np.newaxis] for image in images(rng))
    fixed = FixedFlow(small=[np.divide(motion, 4)], large=[[0.25, 0.5]])
    compensated = GlobalMotionBackend(fixed, 64)
    for flow in (
        compensated.run(first, second),
        compensated.run_with_motion(translation(*motion), first, second),
    ):
        np.testing.assert_array_equal(flow, np.broadcast_to(np.float32([0.25, 0.5]), flow.shape))
        np.testing.assert_array_equal(fixed.seen[-1][1], second)


def test_small_motion_is_left_to_the_network(rng):
    """3 and 2 px; 4 px on average is the limit."""
    image = views(rng, 1)[0]
    assert not is_large(translation(3, 2), image)
    assert is_large(translation(4, 2), image)
    # A zoom of 5 %: 0 at the left border, 25.6 px at the right one.
    assert is_large(np.array([[1.05, 0, 0], [0, 1, 0]]), image)


def test_an_affine_motion_is_compensated_exactly(rng):
    """The network finds f = (1, 2): the flow is A (p + f) - p, with A p = 1.1 p - (8, 4)."""
    motion = np.array([[1.1, 0, -8], [0, 1.1, -4]])
    texture = rng.integers(0, 256, (33, 65, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    first = texture[np.newaxis, :256, :512]
    y, x = np.mgrid[:256, :512]
    rows, columns = np.rint((y + 4) / 1.1).astype(int), np.rint((x + 8) / 1.1).astype(int)
    second = texture[rows, columns][np.newaxis]
    fixed = FixedFlow(small=[[9, 9]], large=[[1, 2]])
    flow = GlobalMotionBackend(fixed, 64).run_with_motion(motion, first, second)
    expected = 1.1 * np.stack([x + 1, y + 2], axis=-1) - (8, 4) - np.stack([x, y], axis=-1)
    np.testing.assert_allclose(flow[0], expected, atol=1e-4)
    assert len(fixed.seen) == 1  # without an estimate
    shown = fixed.seen[0][1].astype(int)
    assert np.median(np.abs(shown - first)) < np.median(np.abs(second.astype(int) - first)) / 4


class TestKnownMotion:
    @pytest.fixture(autouse=True)
    def _bundle(self, tiny_bundle):
        self.bundle = tiny_bundle

    def stream(self, fixed, frames, motions):
        engine_of = FlowEngine(read_manifest(self.bundle), GlobalMotionBackend(fixed, 64))
        return [flow[0, 0].round(3).tolist() for flow in engine_of.stream(frames, motions=motions)]

    def test_it_takes_the_place_of_the_estimate(self, rng):
        """The estimate is wrong. The third pair has no motion, the fourth a wrong one."""
        fixed = FixedFlow(small=[[-5, 5]], large=[[0.25, 0.5]])
        right = translation(8, -4)
        flows = self.stream(fixed, views(rng, 6), [right, right, None, translation(0, 30)])
        assert flows == [[8.25, -3.5]] * 2 + [[0.25, 0.5]] * 3
        sizes = [first.shape[1] for first, _ in fixed.seen]
        assert sizes == [256, 256] + [64, 256] * 3

    def test_small_motion_needs_no_estimate(self, rng):
        fixed = FixedFlow(small=[[2, -1]], large=[[0.25, 0.5]])
        assert self.stream(fixed, views(rng, 2), [IDENTITY]) == [[0.25, 0.5]]
        assert len(fixed.seen) == 1

    def test_a_batch_has_one_motion(self, rng):
        fixed = FixedFlow(small=[[2, -1]], large=[[0.25, 0.5]])
        pair = [np.stack([image] * 3) for image in views(rng, 2)]
        engine_of = FlowEngine(read_manifest(self.bundle), GlobalMotionBackend(fixed, 64))
        (flow,) = engine_of.stream(pair, motions=[translation(8, -4)])
        np.testing.assert_allclose(flow[:, 7, 9], [[8.25, -3.5]] * 3, atol=1e-4)

    @pytest.mark.parametrize("motion", [np.eye(3), [1, 2], np.full((2, 3), np.nan)])
    def test_its_form_is_checked(self, rng, motion):
        fixed = FixedFlow(small=[[2, -1]], large=[[0, 0]])
        with pytest.raises(InputError, match=r"expected a \(2, 3\) matrix of finite numbers"):
            self.stream(fixed, views(rng, 2), [motion])

    @pytest.mark.parametrize("warm_start", [False, True])
    def test_it_needs_compensation(self, rng, warm_start):
        plain = FlowEngine(read_manifest(self.bundle), FixedFlow(small=[[2, -1]], large=[[0, 0]]))
        with pytest.raises(BackendError, match="backend fixed compensates no motion"):
            plain.stream(views(rng, 2), motions=[None], warm_start=warm_start)


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
                flow[:, 272:], flow[:, :, 480:] = 100, 100
            return flow

    first, second = (
        np.pad(image, [(0, 1088 - 768), (0, 1920 - 1024), (0, 0)], mode="wrap")[np.newaxis]
        for image in views(rng, 2, (768, 1024))
    )
    flow = GlobalMotionBackend(Padded(small=[[2, -1]], large=[[0, 0]], least=1000), 64).run(
        first, second
    )
    np.testing.assert_allclose(flow, np.broadcast_to([8, -4], flow.shape), atol=1e-3)


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
    """Noise of several scales, shifted by more than the network estimates well."""
    motion = np.array([90, -70])
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
