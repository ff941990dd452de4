"""Tiles: the flow of the whole image, what the backend gets, and the arguments."""

import dataclasses
import itertools
import logging
from types import SimpleNamespace

import numpy as np
import pytest

import engine
from engine.bundle.manifest import Recurrence, SizeProfile, read_manifest
from engine.call_checks import check_tile_fits
from engine.decorators.tiles import TiledBackend
from engine.errors import BackendError, InputError
from tests.support.fake_backend import FakeBackend


class Positions(FakeBackend):
    """Returns the first two channels of the first image as flow; ``prepare`` is counted."""

    def __init__(self):
        super().__init__()
        self.sizes, self.prepared = [], 0

    def prepare(self, image):
        self.sizes.append(image.shape[1:3])
        self.prepared += 1
        return SimpleNamespace(image=image)

    def run(self, first, second):
        super().run(first.image, second.image)
        assert (first.image + 1 == second.image).all()  # the same part of both images
        return first.image[..., :2].astype(np.float32)


def pair(rng, height, width, count=1):
    image = rng.integers(0, 255, (count, height, width, 3), dtype=np.uint8)
    return image, image + 1


@pytest.mark.parametrize("streams", [1, 2])
def test_tiles_are_put_together_where_they_were(rng, streams):
    """640x512 in tiles of 256x320: 4 rows (at most 128 apart) of 2 columns."""
    inner = Positions()
    tiled = TiledBackend(inner, (256, 320), divisor=64, streams=streams)
    first, second = pair(rng, 640, 512, count=2)
    flow = tiled.run(tiled.prepare(first), tiled.prepare(second))
    np.testing.assert_allclose(flow, first[..., :2], atol=1e-4)
    assert inner.started == 8
    assert set(inner.sizes) == {(256, 320)}


def test_an_image_that_is_no_larger_is_not_cut(rng):
    inner = Positions()
    tiled = TiledBackend(inner, (256, 320), divisor=64)
    first, second = pair(rng, 192, 320)
    flow = tiled.run(tiled.prepare(first), tiled.prepare(second))
    np.testing.assert_array_equal(flow, first[..., :2])
    assert inner.sizes == [(192, 320)] * 2
    assert tiled.network_size((192, 320)) == (192, 320)
    assert tiled.network_size((192, 640)) == (192, 320)


def test_prepared_tiles_of_a_frame_serve_both_of_its_pairs(rng):
    """Four tiles: four frames need 16 preparations, and only those of the last frame are kept."""
    inner = Positions()
    tiled = TiledBackend(inner, (256, 256), divisor=64)
    image, _ = pair(rng, 384, 384)
    previous = tiled.prepare(image)
    frames = [previous]
    for index in (1, 2, 3):
        frames.append(tiled.prepare(image + index))
        tiled.run(frames[-2], frames[-1])
    assert inner.prepared == 16
    assert [len(frame._prepared) for frame in frames] == [0, 0, 0, 4]


def test_tiles_that_need_no_preparation_are_not_kept(rng):
    tiled = TiledBackend(FakeBackend(), (256, 256), divisor=64)
    first, second = map(tiled.prepare, pair(rng, 384, 384))
    assert not tiled.run(first, second).any()
    assert not second._prepared


def test_the_number_of_tiles_and_the_memory_are_logged_once_a_size(rng, caplog):
    """2 images of 3 bytes, the flow and its crop of 8: 22 bytes for each of 512x1024 pixels."""
    tiled = TiledBackend(FakeBackend(), (512, 512), divisor=64, streams=2)
    with caplog.at_level(logging.INFO, "engine"):
        for _ in range(2):
            tiled.run(*map(tiled.prepare, pair(rng, 512, 1024)))
    assert caplog.messages == [
        "512x1024: 3 tile(s) of 512x512, 2 at once; besides them a pair takes 11 MiB"
    ]


@pytest.mark.parametrize("bundle", ["tiny_bundle", "tiny_split_bundle"])
def test_all_methods_give_the_untiled_flow(bundle, request, rng, tiny_flow):
    """The network has means of blocks of 64: tiles that were not aligned would change them."""
    frames = rng.integers(0, 256, (3, 300, 420, 3), dtype=np.uint8)
    expected = [tiny_flow(*frames[index : index + 2]) for index in (0, 1)]
    folder = request.getfixturevalue(bundle)
    with engine.load(folder, backend="onnxruntime", threads=2, streams=2, tile=256) as tiled:
        assert tiled.backend.name == "onnxruntime (tiles of 256x256)"
        for flows in (
            [tiled.infer(frames[0], frames[1]), tiled.infer(frames[1], frames[2])],
            tiled.infer(frames[:2], frames[1:]),
            list(tiled.stream(frames)),
            list(tiled.infer_many(itertools.pairwise(frames))),
            [tiled.infer(frames[0], frames[1], backward=True)[0], expected[1]],
        ):
            np.testing.assert_allclose(flows, expected, atol=1e-4)
        with pytest.raises(BackendError, match=r"onnxruntime \(tiles of 256x256\) takes no arrays"):
            tiled.infer_device(*frames[:2])


def test_global_motion_is_that_of_the_whole_image(tiny_bundle, rng, tiny_flow):
    images = rng.integers(0, 256, (2, 256, 512, 3), dtype=np.uint8)
    flows = []
    for tile in (None, 256):
        with engine.load(
            tiny_bundle, backend="onnxruntime", threads=1, compensate_motion=True, tile=tile
        ) as loaded:
            flows.append(loaded.infer(*images))
    np.testing.assert_allclose(*flows, atol=1e-3)


@pytest.mark.parametrize(
    ("tile", "message"),
    [
        (500, r"tile is 500x500; tiny takes multiples of 64, and .* Use 512x512\."),
        ((512, 700), r"tile is 512x700; .* Use 512x704\."),
        (64, r"tile is 64x64; .* tiles of at least 256 overlap enough\. Use 256x256\."),
        (0, r"tile is 0x0; .* Use 256x256\."),
        (-512, r"tile is -512x-512; .* Use 256x256\."),
        ("512", r"tile is '512'; expected its side or \(height, width\) in pixels, for example"),
        ((512,), r"tile is \(512,\); expected its side"),
        ([512, 512], r"tile is \[512, 512\]; expected its side"),
        (True, "tile is True; expected its side"),
    ],
)
def test_tiles_that_do_not_fit_the_network(tiny_bundle, tile, message):
    with pytest.raises(InputError, match=message):
        engine.load(tiny_bundle, tile=tile)


def test_tiles_that_do_not_fit_a_plan():
    profile = SizeProfile((1, 256, 512), (1, 384, 512), (4, 448, 1024))
    check_tile_fits((384, 1024), profile)
    for tile in ((512, 512), (256, 256), (384, 1088)):
        with pytest.raises(
            InputError,
            match=r"tile is \d+x\d+; the plan's profile allows 256x512 to 448x1024",
        ):
            check_tile_fits(tile, profile)


def test_a_plan_with_a_profile_computes_larger_images(tiny_bundle, rng):
    """The profile ends at 256x320; an image of 700x900 is computed in tiles, not refused."""
    manifest = read_manifest(tiny_bundle)
    inner = FakeBackend()
    inner.profile = manifest.profile
    images = rng.integers(0, 256, (2, 700, 900, 3), dtype=np.uint8)
    plain = engine.FlowEngine(manifest, inner)
    with pytest.raises(InputError, match="allows at most 256x320"):
        plain.infer(*images)
    tiled = engine.FlowEngine(manifest, TiledBackend(inner, (256, 320), divisor=64))
    assert tiled.infer(*images).shape == (700, 900, 2)


def test_the_memory_of_the_correlations_is_that_of_a_tile(tiny_bundle, rng, monkeypatch):
    """256x256 at 1/8: 1024 x (1024 + 256 + 64 + 16 + 1) values, 5.3 MiB; 512x512: 84 MiB."""
    recurrence = Recurrence(iterations=1, stride=8, lookup="volume")
    manifest = dataclasses.replace(read_manifest(tiny_bundle), recurrence=recurrence)
    monkeypatch.setattr("engine.recurrence.available_bytes", lambda: 6 * 2**20)
    images = rng.integers(0, 256, (2, 512, 512, 3), dtype=np.uint8)
    with pytest.raises(InputError, match=r"need 0\.1 GiB .* with tile= or max_side="):
        engine.FlowEngine(manifest, FakeBackend()).infer(*images)
    tiled = engine.FlowEngine(manifest, TiledBackend(FakeBackend(), (256, 256), divisor=64))
    assert not tiled.infer(*images).any()
