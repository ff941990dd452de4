"""Flow in both directions: values, one batch, shared features, every method."""

from concurrent.futures import Future
from itertools import pairwise

import numpy as np
import pytest

import engine
from engine import FlowEngine
from engine.bundle.manifest import SizeProfile, read_manifest
from engine.errors import BackendError, InputError
from tests.support.fake_backend import FakeBackend, failing


class Differences(FakeBackend):
    """The flow is the difference of the images' first two channels."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def run(self, first, second):
        self.batches.append(len(first))
        return second[..., :2].astype(np.float32) - first[..., :2]


@pytest.fixture
def backend():
    return Differences()


@pytest.fixture
def opened(tiny_bundle, backend):
    with FlowEngine(read_manifest(tiny_bundle), backend, streams=2) as flow_engine:
        yield flow_engine


@pytest.mark.parametrize("shape", [(5, 7, 3), (2, 5, 7, 3)])
def test_one_batch_of_both_directions(opened, backend, rng, shape):
    image1, image2 = rng.integers(0, 256, (2, *shape), dtype=np.uint8)
    forward, backward = opened.infer(image1, image2, backward=True)
    expected = image2[..., :2].astype(np.float32) - image1[..., :2]
    for flow, truth in ((forward, expected), (backward, -expected)):
        np.testing.assert_array_equal(flow, truth)
        assert flow.flags.c_contiguous
        assert flow.dtype == np.float32
    assert backend.batches == [2 * (1 if len(shape) == 3 else shape[0])]


@pytest.mark.parametrize(("most", "batches"), [(1, [1, 1]), (2, [2])])
def test_the_profile_limits_the_batch(opened, backend, rng, most, batches):
    backend.profile = SizeProfile((1, 64, 64), (1, 64, 64), (most, 64, 64))
    image1, image2 = rng.integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    forward, backward = opened.infer(image1, image2, backward=True)
    np.testing.assert_array_equal(forward, -backward)
    assert backend.batches == batches


def test_large_images_are_not_batched(opened, backend):
    """Two of 1024x1025 are more than 2 megapixels."""
    image = np.zeros((1024, 1025, 3), np.uint8)
    opened.infer(image, image, backward=True)
    opened.infer(image[:, 1:], image[:, 1:], backward=True)
    assert backend.batches == [1, 1, 2]


def test_every_method_returns_both(opened, rng):
    image1, image2 = rng.integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    expected = opened.infer(image1, image2, backward=True)
    future = opened.infer_async(image1, image2, backward=True)
    assert isinstance(future, Future)
    (of_many,) = opened.infer_many([(image1, image2)], backward=True)
    for both in (future.result(30), of_many):
        assert isinstance(both, tuple)
        np.testing.assert_array_equal(both, expected)


def test_errors_count_the_pairs_of_the_caller(opened, backend):
    backend.run = failing
    image = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(BackendError, match=r"failed on 1 pair\(s\) of 8x8: out of memory"):
        opened.infer(image, image, backward=True)


@pytest.mark.parametrize("bundle", ["tiny_bundle", "tiny_split_bundle"])
def test_real_networks(request, bundle, tiny_flow, rng):
    image1, image2 = rng.integers(0, 256, (2, 50, 70, 3), dtype=np.uint8)
    bundle = request.getfixturevalue(bundle)
    with engine.load(bundle, backend="onnxruntime", threads=1) as flow_engine:
        forward, backward = flow_engine.infer(image1, image2, backward=True)
    np.testing.assert_allclose(forward, tiny_flow(image1, image2), atol=1e-4)
    np.testing.assert_allclose(backward, tiny_flow(image2, image1), atol=1e-4)


def test_features_are_computed_once(tiny_split_bundle, rng):
    image1, image2 = rng.integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    with engine.load(tiny_split_bundle, backend="onnxruntime", threads=1) as flow_engine:
        prepared, prepare = [], flow_engine.backend.prepare
        flow_engine.backend.prepare = lambda image: prepared.append(image) or prepare(image)
        flow_engine.infer(image1, image2, backward=True)
    assert len(prepared) == 2


def test_files(tmp_path, opened, rng):
    images = rng.integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    paths = tmp_path / "1.png", str(tmp_path / "2.png")
    for path, image in zip(paths, images, strict=True):
        engine.images.write_image(path, image)
    np.testing.assert_array_equal(opened.infer_files(*paths), opened.infer(*images))
    both = opened.infer_files(*paths, backward=True)
    np.testing.assert_array_equal(both, opened.infer(*images, backward=True))
    with pytest.raises(engine.InputError, match=r"3\.png does not exist"):
        opened.infer_files(paths[0], tmp_path / "3.png")


def test_stream_takes_frames_with_their_time(opened, rng):
    frames = rng.integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)
    with_times = [(index / 25, frame) for index, frame in enumerate(frames)]
    for found, expected in zip(opened.stream(with_times), opened.stream(frames), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_stream_returns_both_directions(opened, backend, rng):
    frames = rng.integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)
    found = list(opened.stream(frames, backward=True))
    assert backend.batches == [2, 2]
    expected = [opened.infer(*pair, backward=True) for pair in pairwise(frames)]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"warm_start": True}, "backward and warm_start were given; warm_start is of one direct"),
        ({"motions": [None]}, "backward and motions were given; motions is of one direction"),
    ],
)
def test_what_is_of_one_direction_is_refused(opened, option, message):
    with pytest.raises(InputError, match=message):
        opened.stream([], backward=True, **option)


def test_the_default_engine(monkeypatch, opened, tmp_path, rng):
    monkeypatch.setattr(engine, "_default", opened)
    images = rng.integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    expected = opened.infer(*images, backward=True)
    np.testing.assert_array_equal(engine.infer(*images, backward=True), expected)
    np.testing.assert_array_equal(engine.infer(*images), expected[0])
    for name, image in zip("ab", images, strict=True):
        engine.images.write_image(tmp_path / f"{name}.png", image)
    paths = tmp_path / "a.png", tmp_path / "b.png"
    np.testing.assert_array_equal(engine.infer_files(*paths), expected[0])
    np.testing.assert_array_equal(engine.infer_files(*paths, backward=True), expected)
