"""FlowEngine: ``infer``, ``stream`` and ``close``, on a bundle whose flow has a closed form."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import engine
from engine import FlowEngine
from engine.bundle.manifest import SizeProfile, read_manifest
from engine.errors import BackendError, InputError
from tests.support.fake_backend import FakeBackend, failing

# One float32 rounding of values up to 128.
TOLERANCE = 1e-5


@pytest.fixture(params=["onnxruntime", "openvino"])
def backend(request):
    if request.param == "openvino":
        pytest.importorskip("openvino", reason="openvino is an optional extra")
    return request.param


@pytest.fixture(params=["tiny_bundle", "tiny_split_bundle"])
def tiny_engine(request, backend):
    bundle = request.getfixturevalue(request.param)
    with engine.load(bundle, backend=backend, threads=1) as opened:
        yield opened


@pytest.fixture
def limited(tiny_bundle):
    """An engine whose backend has the size profile of a plan."""
    with engine.load(tiny_bundle, backend="onnxruntime", threads=1) as opened:
        opened.backend.profile = SizeProfile((1, 128, 128), (1, 192, 192), (2, 1088, 1920))
        yield opened


def pair(rng, *shape):
    return rng.integers(0, 256, (2, *shape, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "shape",
    [(64, 128), (1, 1), (65, 63), (100, 200), (1, 300), (2, 64, 64), (1, 30, 70), (3, 1, 1)],
)
def test_flow_has_its_closed_form(tiny_engine, tiny_flow, rng, shape):
    image1, image2 = pair(rng, *shape)
    flow = tiny_engine.infer(image1, image2)
    assert flow.shape == (*shape, 2)
    assert flow.dtype == np.float32
    assert flow.flags.c_contiguous
    assert flow.flags.writeable
    np.testing.assert_allclose(flow, tiny_flow(image1, image2), atol=TOLERANCE)


@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 130), width=st.integers(1, 130), batch=st.integers(0, 2))
def test_any_size(session_engine, tiny_flow, height, width, batch):
    shape = (batch, height, width) if batch else (height, width)
    image1, image2 = pair(np.random.default_rng(height * 131 + width), *shape)
    flow = session_engine.infer(image1, image2)
    np.testing.assert_allclose(flow, tiny_flow(image1, image2), atol=TOLERANCE)


@pytest.fixture(scope="session")
def session_engine(tiny_bundle):
    with engine.load(tiny_bundle, backend="onnxruntime", threads=1) as opened:
        yield opened


def test_bgr_is_rgb_reversed(tiny_engine, rng):
    for shape in ((64, 64), (50, 70)):
        image1, image2 = pair(rng, *shape)
        expected = tiny_engine.infer(image1, image2)
        flow = tiny_engine.infer(image1[..., ::-1].copy(), image2[..., ::-1], color="bgr")
        np.testing.assert_array_equal(flow, expected)


def test_floats_and_bytes_agree(tiny_engine, rng):
    image1, image2 = pair(rng, 64, 64)
    expected = tiny_engine.infer(image1, image2)
    for kind in (np.float16, np.float32, np.float64):
        flow = tiny_engine.infer((image1 / 255).astype(kind), (image2 / 255).astype(np.float64))
        np.testing.assert_array_equal(flow, expected)


def test_read_only_and_broadcast_images(tiny_engine, tiny_flow, rng):
    image1, image2 = pair(rng, 64, 64)
    image1.flags.writeable = False
    row = np.broadcast_to(image2[:1], (64, 64, 3))
    flow = tiny_engine.infer(image1, row)
    np.testing.assert_allclose(flow, tiny_flow(image1, row), atol=TOLERANCE)


def test_results_belong_to_the_caller(tiny_engine, rng):
    first, second = pair(rng, 64, 64), pair(rng, 64, 64)
    flow = tiny_engine.infer(*first)
    kept = flow.copy()
    tiny_engine.infer(*second)
    np.testing.assert_array_equal(flow, kept)
    flow[:] = 0
    np.testing.assert_array_equal(tiny_engine.infer(*first), kept)


def test_images_are_not_modified(tiny_engine, rng):
    image1, image2 = pair(rng, 64, 64)
    kept = image1.copy(), image2.copy()
    tiny_engine.infer(image1, image2)
    np.testing.assert_array_equal(image1, kept[0])
    np.testing.assert_array_equal(image2, kept[1])


def test_threads_share_an_engine(tiny_engine, tiny_flow, rng):
    pairs = [pair(rng, 64 * (1 + index % 3), 50) for index in range(24)]
    with ThreadPoolExecutor(6) as pool:
        flows = list(pool.map(lambda images: tiny_engine.infer(*images), pairs))
    for images, flow in zip(pairs, flows, strict=True):
        np.testing.assert_allclose(flow, tiny_flow(*images), atol=TOLERANCE)


@pytest.mark.parametrize(
    ("image1", "image2", "message"),
    [
        ("a.png", "b.png", "image1 is a path"),
        (np.zeros((8, 8, 3), np.uint8), "b.png", "image2 is a path"),
        (np.zeros((8, 8, 3), np.uint8), np.zeros((8, 9, 3), np.uint8), "expected the same shape"),
        (np.zeros((8, 8, 3), np.int32), np.zeros((8, 8, 3), np.int32), "image1 has type int32"),
        (np.zeros(8, np.uint8), np.zeros(8, np.uint8), r"image1 has shape \(8,\)"),
        (np.zeros((8, 8, 3)), np.full((8, 8, 3), np.nan), "image2 holds 192 values that are NaN"),
        (np.zeros((0, 8, 3)), np.zeros((0, 8, 3)), "image1 is empty"),
    ],
)
def test_bad_images(session_engine, image1, image2, message):
    with pytest.raises(InputError, match=message):
        session_engine.infer(image1, image2)


@pytest.mark.parametrize(("color", "message"), [("rbg", "Did you mean 'rgb'"), (1, "color is 1")])
def test_bad_color(session_engine, color, message):
    image = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(InputError, match=message):
        session_engine.infer(image, image, color=color)
    with pytest.raises(InputError, match=message):
        session_engine.stream([image], color=color)


def test_image_beyond_the_profile(limited):
    image = np.zeros((1200, 2000, 3), np.uint8)
    with pytest.raises(InputError) as caught:
        limited.infer(image, image)
    assert str(caught.value) == (
        "tiny: image is 1200x2000 (padded 1216x2048); the plan's profile allows at most 1088x1920. "
        "Rebuild with --max-size 1216x2048."
    )


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1100, 100), r"at most 1088x1920\. Rebuild with --max-size 1152x1920\."),
        ((128, 1921), r"at most 1088x1920\. Rebuild with --max-size 1088x1984\."),
        ((64, 500), r"64x500 \(padded 64x512\); .* at least 128x128\. .* --min-size 64x128\."),
        ((1, 1), r"1x1 \(padded 64x64\); .* at least 128x128\. Rebuild with --min-size 64x64\."),
        ((3, 128, 128), r"batch has 3 pairs; the plan's profile allows 1 to 2\. Split"),
    ],
)
def test_profile_limits(limited, shape, message):
    image = np.zeros((*shape, 3), np.uint8)
    with pytest.raises(InputError, match=message):
        limited.infer(image, image)


def test_within_the_profile(limited, tiny_flow, rng):
    image1, image2 = pair(rng, 2, 100, 128)
    flow = limited.infer(image1, image2)
    np.testing.assert_allclose(flow, tiny_flow(image1, image2), atol=TOLERANCE)


def test_stream_returns_the_flow_of_each_pair(tiny_engine, tiny_flow, rng):
    frames = rng.integers(0, 256, (4, 70, 64, 3), dtype=np.uint8)
    flows = list(tiny_engine.stream(frames))
    assert len(flows) == 3
    for index, flow in enumerate(flows):
        expected = tiny_flow(frames[index], frames[index + 1])
        np.testing.assert_allclose(flow, expected, atol=TOLERANCE)
    assert list(tiny_engine.stream(frames[:1])) == []
    assert list(tiny_engine.stream([])) == []


def test_stream_computes_features_once_per_frame(backend, tiny_split_bundle, rng):
    frames = rng.integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    with engine.load(tiny_split_bundle, backend=backend, threads=1) as opened:
        graphs, seen = opened.backend.graphs, []
        features, match = graphs._features, graphs._match
        graphs._features = lambda inputs: seen.append("features") or features(inputs)
        graphs._match = lambda inputs: seen.append("match") or match(inputs)
        assert len(list(opened.stream(frames))) == 3
    assert seen == ["features", *["features", "match"] * 3]


def test_stream_accepts_a_source_that_reuses_its_buffer(tiny_engine, rng):
    frames = rng.integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)

    def camera():
        buffer = np.empty_like(frames[0])
        for frame in frames:
            buffer[:] = frame
            yield buffer

    for reused, fresh in zip(tiny_engine.stream(camera()), tiny_engine.stream(frames), strict=True):
        np.testing.assert_array_equal(reused, fresh)


def test_stream_errors_name_the_frame(session_engine):
    image = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(InputError, match=r"frames is a path \('a\.mp4'\); expected an iterable"):
        session_engine.stream("a.mp4")
    with pytest.raises(InputError, match=r"frame 1 has shape \(8, 8, 3\) and frame 2 \(9, 8, 3\)"):
        list(session_engine.stream([image, image, np.zeros((9, 8, 3), np.uint8)]))
    with pytest.raises(InputError, match="frame 1 is a path"):
        list(session_engine.stream([image, "b.png"]))


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (None, r"frames is None; expected an iterable of arrays .* generator"),
        (0, r"frames is int; expected an iterable"),
        (cv2.VideoCapture(), r"frames is VideoCapture; expected .* a generator that reads one"),
        (b"a" * 10**6, r"^frames is 1000000 bytes; expected"),
        ({"a": 1}, r"frames is dict; .* frames\.values\(\)"),
        (np.zeros((8, 8, 3), np.uint8), r"frames is one array of shape \(8, 8, 3\); .* \(N, H, W"),
        (np.zeros((8, 8), np.uint8), r"frames is one array of shape \(8, 8\)"),
    ],
)
def test_frames_that_are_no_iterable_of_images(session_engine, frames, message):
    with pytest.raises(InputError, match=message):
        session_engine.stream(frames)
    pairs = message.replace("frames", "pairs").replace("arrays", "pairs of arrays")
    with pytest.raises(InputError, match=pairs):
        session_engine.infer_many(frames)


def frames_of(sides, rng):
    return [rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for side in sides]


def collected(stream):
    """Return all flows of a stream and the texts of its errors, in order."""
    found = []
    while True:
        try:
            found.append(next(stream))
        except StopIteration:
            return found
        except InputError as error:
            found.append(str(error))


def test_stream_goes_on_after_a_frame_of_another_size(tiny_engine, tiny_flow, rng):
    frames = frames_of((64, 64, 70, 70, 70, 64), rng)
    first, refused, second, third, last = collected(tiny_engine.stream(frames))
    assert refused.startswith("frame 1 has shape (64, 64, 3) and frame 2 (70, 70, 3); expected")
    assert last.startswith("frame 4 has shape (70, 70, 3) and frame 5 (64, 64, 3); expected")
    restarted = list(tiny_engine.stream(frames, on_resize="restart"))
    for index, flow, again in zip((0, 2, 3), (first, second, third), restarted, strict=True):
        np.testing.assert_allclose(flow, tiny_flow(frames[index], frames[index + 1]), atol=1e-5)
        np.testing.assert_array_equal(flow, again)


def test_stream_computes_nothing_across_a_bad_frame(tiny_engine, tiny_flow, rng):
    frames = [*frames_of((64, 64), rng), None, *frames_of((64, 64), rng)]
    for on_resize in ("error", "restart"):
        first, error, second = collected(tiny_engine.stream(frames, on_resize=on_resize))
        np.testing.assert_allclose(first, tiny_flow(*frames[:2]), atol=TOLERANCE)
        assert error.startswith("frame 2 is ")
        np.testing.assert_allclose(second, tiny_flow(*frames[3:]), atol=TOLERANCE)


def test_stream_in_both_directions_restarts(tiny_engine, tiny_flow, rng):
    frames = frames_of((64, 70, 70), rng)
    ((forward, backward),) = tiny_engine.stream(frames, backward=True, on_resize="restart")
    np.testing.assert_allclose(forward, tiny_flow(*frames[1:]), atol=TOLERANCE)
    np.testing.assert_allclose(backward, tiny_flow(*frames[:0:-1]), atol=TOLERANCE)


def test_on_resize_is_checked(session_engine):
    with pytest.raises(InputError, match=r"on_resize is 'rstart'; .* Did you mean 'restart'\?"):
        session_engine.stream([], on_resize="rstart")


def test_stream_errors_name_the_frame_beyond_the_profile(limited):
    image = np.zeros((1200, 2000, 3), np.uint8)
    with pytest.raises(InputError, match=r"^frame 0: tiny: image is 1200x2000 \(padded"):
        next(limited.stream([image, image]))


def test_closed_engine(tiny_bundle):
    image = np.zeros((64, 64, 3), np.uint8)
    with engine.load(tiny_bundle, backend="onnxruntime", threads=1) as opened:
        opened.infer(image, image)
    opened.close()
    with pytest.raises(BackendError, match=r"this engine is closed\. Load another"):
        opened.infer(image, image)
    with pytest.raises(BackendError, match=r"this engine is closed\. Load another"):
        opened.stream([image, image], warm_start=True)


def test_close_waits_for_running_threads(tiny_bundle):
    backend = FakeBackend(blocking=True)
    opened = FlowEngine(read_manifest(tiny_bundle), backend)
    image = np.zeros((64, 64, 3), np.uint8)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(opened.infer, image, image)
        assert backend.entered.acquire(timeout=30)
        opened.close()
        assert backend.closed == 0
        backend.proceed.release()
        assert running.result().shape == (64, 64, 2)
    assert backend.closed == 1


def test_a_failing_runtime_is_a_backend_error(tiny_bundle):
    backend = FakeBackend()
    backend.run = failing
    opened = FlowEngine(read_manifest(tiny_bundle), backend)
    image = np.zeros((2, 8, 8, 3), np.uint8)
    with pytest.raises(
        BackendError, match=r"tiny: fake 1 failed on 2 pair\(s\) of 8x8: out of memory\."
    ):
        opened.infer(image, image)


def test_repr(session_engine):
    assert repr(session_engine) == "<FlowEngine tiny fp32, onnxruntime on cpu>"
