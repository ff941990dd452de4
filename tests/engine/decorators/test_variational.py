"""Variational refinement: it reduces errors, keeps what it need not change; bundles ask for it."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

import engine
from engine.bundle.manifest import read_manifest, write_manifest
from engine.decorators.variational import VariationalBackend
from engine.errors import InputError
from engine.flow.warp import warp


class Guess:
    """A backend with one flow for every pixel of each pair."""

    name, device, runtime_version, arithmetic = "guess", "cpu", "1", "float32"
    profile = None

    def __init__(self, *guesses):
        self.guesses, self.prepared, self.closed = guesses, 0, False

    def prepare(self, image):
        self.prepared += 1
        return SimpleNamespace(shape=image.shape)

    def run(self, first, second):
        count, height, width, _ = first.shape
        flow = np.empty((count, height, width, 2), np.float32)
        flow[:] = np.reshape(self.guesses, (-1, 1, 1, 2))
        return flow

    def device_ms(self):
        return None

    def close(self):
        self.closed = True


@pytest.fixture
def texture(rng):
    """Smooth noise, so that a shift by parts of a pixel is exact enough."""
    noise = rng.integers(0, 256, (64, 96, 3), dtype=np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)


def moved(image, motion):
    """Return the image after a motion of all of it, mirrored at the borders."""
    x, y = motion
    transform = np.array([[1, 0, x], [0, 1, y]], np.float32)
    return cv2.warpAffine(image, transform, (96, 64), borderMode=cv2.BORDER_REFLECT)


def test_the_error_falls_by_a_quarter(texture):
    """Two pairs whose guesses are wrong by 0.5 and 0.7 px."""
    truth = np.array([[2.0, -1.0], [0.5, 0.5]], np.float32)
    guesses = truth + np.array([[0.3, -0.4], [-0.7, 0.0]], np.float32)
    refined = VariationalBackend(Guess(*guesses), threads=2)
    first = np.stack([texture] * 2)
    second = np.stack([moved(texture, one) for one in truth])
    flow = refined.run(refined.prepare(first), refined.prepare(second))
    assert flow.shape == (2, 64, 96, 2)
    assert flow.dtype == np.float32
    inner = flow[:, 8:-8, 8:-8]  # without what leaves the image
    errors = np.linalg.norm(inner - truth[:, None, None], axis=-1).mean(axis=(1, 2))
    assert (errors < [0.5 * 3 / 4, 0.7 * 3 / 4]).all()
    back = warp(second[0], flow[0])[8:-8, 8:-8].astype(int)
    before = warp(second[0], np.broadcast_to(guesses[0], (64, 96, 2)))[8:-8, 8:-8].astype(int)
    kept = texture[8:-8, 8:-8]
    assert np.abs(back - kept).mean() < np.abs(before - kept).mean() * 3 / 4


def test_no_motion_stays_none(texture):
    refined = VariationalBackend(Guess((0.0, 0.0)), threads=1)
    prepared = refined.prepare(texture[None])
    assert not refined.run(prepared, prepared).any()


def test_all_methods_agree(tiny_split_bundle, rng):
    pair = rng.integers(0, 256, (2, 50, 70, 3), dtype=np.uint8)
    with engine.load(
        tiny_split_bundle, backend="onnxruntime", threads=1, refine="variational"
    ) as refined:
        assert refined.backend.name == "onnxruntime (refined)"
        flow = refined.infer(*pair)
        assert flow.shape == (50, 70, 2)
        (streamed,) = refined.stream(pair)
        both = refined.infer(*pair, backward=True)
        batch = refined.infer(*(np.stack([image] * 2) for image in pair))
        for other in (streamed, both[0], *batch):
            np.testing.assert_allclose(other, flow, atol=1e-4)
    with engine.load(tiny_split_bundle, backend="onnxruntime", threads=1) as plain:
        assert np.abs(plain.infer(*pair) - flow).max() > 0.01


def test_features_are_shared(texture):
    guess = Guess((0.0, 0.0))
    refined = VariationalBackend(guess, threads=1)
    one, two, three = (refined.prepare(texture[None]) for _ in range(3))
    refined.run(one, two)
    refined.run(two, three)
    assert guess.prepared == 3
    refined.close()
    assert guess.closed


def test_the_argument(tiny_bundle):
    with pytest.raises(InputError, match="refine is 'tv-l1'; expected 'variational' or 'none', or"):
        engine.load(tiny_bundle, refine="tv-l1")


def test_a_bundle_says_how_its_flow_is_refined(tiny_bundle, tmp_path, rng):
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, bundle)
    write_manifest(bundle, replace(read_manifest(bundle), refine="variational"))
    pair = rng.integers(0, 256, (2, 50, 70, 3), dtype=np.uint8)
    flows = {}
    for refine in (None, "variational", "none"):
        with engine.load(bundle, threads=1, refine=refine) as loaded:
            flows[refine] = loaded.infer(*pair)
            assert loaded.backend.name.endswith("(refined)") == (refine != "none")
    np.testing.assert_array_equal(flows[None], flows["variational"])
    assert np.abs(flows[None] - flows["none"]).max() > 0.01
    with engine.load(tiny_bundle, threads=1) as loaded:
        np.testing.assert_array_equal(loaded.infer(*pair), flows["none"])
