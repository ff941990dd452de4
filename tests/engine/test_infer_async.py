"""``infer_async``: futures, cancellation and ``close``."""

import time
from concurrent.futures import CancelledError, Future

import numpy as np
import pytest

import engine
from engine import FlowEngine
from engine.bundle.manifest import SizeProfile, read_manifest
from engine.errors import BackendError, InputError
from tests.support.fake_backend import FakeBackend, failing

# One float32 rounding of values up to 128.
TOLERANCE = 1e-5
IMAGE = np.zeros((8, 8, 3), np.uint8)


@pytest.fixture
def backend():
    return FakeBackend(blocking=True)


@pytest.fixture
def make(tiny_bundle, backend, new_threads):
    yield lambda streams=1: FlowEngine(read_manifest(tiny_bundle), backend, streams=streams)
    until(lambda: not new_threads())


def until(condition):
    """Wait for another thread."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("streams", [1, 2])
def test_futures_hold_what_infer_returns(
    tiny_bundle, tiny_flow, rng, runtime, streams, new_threads
):
    pytest.importorskip(runtime, reason=f"{runtime} is not installed")
    shapes = [(64, 64), (70, 50), (2, 30, 65), (1, 1), (64, 128)]
    pairs = [rng.integers(0, 256, (2, *shape, 3), dtype=np.uint8) for shape in shapes]
    with engine.load(tiny_bundle, backend=runtime, threads=2, streams=streams) as opened:
        futures = [opened.infer_async(*images) for images in pairs]
        swapped = opened.infer_async(*pairs[0][..., ::-1], color="bgr")
    for images, future in zip([*pairs, pairs[0]], [*futures, swapped], strict=True):
        assert isinstance(future, Future)
        flow = future.result(60)
        assert flow.flags.c_contiguous
        assert flow.flags.writeable
        np.testing.assert_allclose(flow, tiny_flow(*images), atol=TOLERANCE)
    until(lambda: not new_threads())


def test_calls_return_at_once_and_streams_run_concurrently(make, backend):
    opened = make(streams=2)
    futures = [opened.infer_async(IMAGE, IMAGE) for _ in range(5)]
    for _ in range(2):
        assert backend.entered.acquire(timeout=30)
    assert not any(future.done() for future in futures)
    assert backend.started == 2
    backend.proceed.release(5)
    assert [future.result(30).shape for future in futures] == [(8, 8, 2)] * 5
    assert backend.most == 2
    opened.close()


def test_threads_start_on_demand(make, new_threads):
    opened = make(streams=3)
    assert new_threads() == []
    opened.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a.png", IMAGE), "image1 is a path"),
        ((IMAGE, IMAGE[:4]), r"image1 has shape \(8, 8, 3\) and image2 \(4, 8, 3\)"),
        ((IMAGE, IMAGE.astype(np.int32)), "image2 has type int32"),
        ((IMAGE, np.full((8, 8, 3), np.nan)), "image2 holds 192 values that are NaN"),
        ((IMAGE[:0], IMAGE[:0]), "image1 is empty"),
    ],
)
def test_bad_images_raise_at_once(make, backend, arguments, message):
    opened = make()
    with pytest.raises(InputError, match=message):
        opened.infer_async(*arguments)
    with pytest.raises(InputError, match="Did you mean 'rgb'"):
        opened.infer_async(IMAGE, IMAGE, color="rbg")
    opened.close()
    assert backend.closed == 1


def test_sizes_beyond_the_profile_raise_at_once(make, backend):
    backend.profile = SizeProfile((1, 128, 128), (1, 192, 192), (2, 1088, 1920))
    with pytest.raises(InputError, match=r"padded 64x64.* allows at least 128x128"):
        make().infer_async(IMAGE, IMAGE)


def test_runtime_errors_are_raised_by_the_result(make, backend):
    opened = make()
    backend.run = failing
    future = opened.infer_async(IMAGE, IMAGE)
    with pytest.raises(
        BackendError, match=r"tiny: fake 1 failed on 1 pair\(s\) of 8x8: out of memory\."
    ):
        future.result(30)
    opened.close()
    until(lambda: backend.closed == 1)


def test_close_neither_cancels_nor_waits(make, backend, new_threads):
    opened = make()
    futures = [opened.infer_async(IMAGE, IMAGE) for _ in range(3)]
    opened.close()
    assert backend.closed == 0
    with pytest.raises(BackendError, match=r"this engine is closed\. Load another"):
        opened.infer_async(IMAGE, IMAGE)
    backend.proceed.release(3)
    assert [future.result(30).shape for future in futures] == [(8, 8, 2)] * 3
    until(lambda: backend.closed == 1)
    until(lambda: not new_threads())
    opened.close()
    assert backend.closed == 1


def test_close_in_a_callback(make, backend):
    opened = make()
    futures = [opened.infer_async(IMAGE, IMAGE) for _ in range(2)]
    futures[0].add_done_callback(lambda _: opened.close())
    backend.proceed.release(2)
    assert futures[1].result(30).shape == (8, 8, 2)
    until(lambda: backend.closed == 1)


def test_queued_pairs_can_be_cancelled(make, backend):
    opened = make()
    running, waiting = (opened.infer_async(IMAGE, IMAGE) for _ in range(2))
    assert backend.entered.acquire(timeout=30)
    assert waiting.cancel()
    assert not running.cancel()
    opened.close()
    backend.proceed.release()
    assert running.result(30).shape == (8, 8, 2)
    with pytest.raises(CancelledError):
        waiting.result(30)
    until(lambda: backend.closed == 1)
    assert backend.started == 1
