"""``infer_many``: order, concurrency and errors."""

import itertools
import threading

import numpy as np
import pytest

import engine
from engine import FlowEngine
from engine.bundle.manifest import SizeProfile, read_manifest
from engine.errors import BackendError, InputError
from engine.system.ordered_map import LOOK_AHEAD
from tests.support.fake_backend import FakeBackend, failing

# One float32 rounding of values up to 128.
TOLERANCE = 1e-5
IMAGE = np.zeros((8, 8, 3), np.uint8)


@pytest.fixture(params=["onnxruntime", "openvino"])
def backend(request):
    pytest.importorskip(request.param, reason=f"{request.param} is not installed")
    return request.param


@pytest.fixture
def fake(tiny_bundle):
    return FlowEngine(read_manifest(tiny_bundle), FakeBackend(), streams=2)


@pytest.mark.parametrize("bundle", ["tiny_bundle", "tiny_split_bundle"])
@pytest.mark.parametrize("streams", [1, 2])
def test_flow_of_every_pair_in_order(
    request, backend, bundle, streams, tiny_flow, rng, new_threads
):
    shapes = [(64, 64), (70, 50), (1, 1), (2, 30, 65), (64, 64), (50, 130), (9, 9), (64, 128)]
    pairs = [rng.integers(0, 256, (2, *shape, 3), dtype=np.uint8) for shape in shapes]
    bundle = request.getfixturevalue(bundle)
    with engine.load(bundle, backend=backend, threads=2, streams=streams) as opened:
        assert opened.streams == streams
        flows = list(opened.infer_many((one, two) for one, two in pairs))
    assert new_threads() == []
    for (image1, image2), flow in zip(pairs, flows, strict=True):
        np.testing.assert_allclose(flow, tiny_flow(image1, image2), atol=TOLERANCE)


def test_bgr_is_rgb_reversed(tiny_bundle, tiny_flow, rng):
    image1, image2 = rng.integers(0, 256, (2, 30, 40, 3), dtype=np.uint8)
    with engine.load(tiny_bundle, backend="onnxruntime", threads=2, streams=2) as opened:
        reversed_pair = image1[..., ::-1], image2[..., ::-1]
        (flow,) = opened.infer_many([reversed_pair], color="bgr")
    np.testing.assert_allclose(flow, tiny_flow(image1, image2), atol=TOLERANCE)


def test_one_stream_by_default(tiny_bundle):
    with engine.load(tiny_bundle, backend="onnxruntime", threads=2) as opened:
        assert opened.streams == 1
        assert len(list(opened.infer_many([(IMAGE, IMAGE)] * 3))) == 3


def test_streams_run_concurrently_including_the_layout(fake, monkeypatch):
    meeting = threading.Barrier(2, timeout=30)  # broken unless two calls overlap
    zeros = fake.backend.run

    def run(first, second):
        meeting.wait()
        return zeros(first, second)

    fake.backend.run = run
    threads = set()
    layout = engine.inference.network_input

    def network_input(*arguments, **options):
        threads.add(threading.current_thread())
        return layout(*arguments, **options)

    monkeypatch.setattr("engine.inference.network_input", network_input)
    assert len(list(fake.infer_many([(IMAGE, IMAGE)] * 6))) == 6
    assert len(threads) == 2
    assert threading.current_thread() not in threads


def test_an_endless_source(fake, new_threads):
    taken = itertools.count()
    pairs = ((np.full((8, 8, 3), next(taken), np.uint8), IMAGE) for _ in itertools.repeat(None))
    fake.backend.run = lambda first, second: np.float32(first[..., :2])
    flows = fake.infer_many(pairs)
    for number in range(9):
        assert (next(flows) == number).all()
    assert next(taken) == 9 + LOOK_AHEAD * 2
    flows.close()
    assert new_threads() == []
    assert fake.infer(IMAGE, IMAGE).shape == (8, 8, 2)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ((IMAGE, IMAGE.astype(np.int32)), "pair 2: image2 has type int32; expected uint8"),
        ((IMAGE, IMAGE[1:]), r"pair 2: image1 has shape \(8, 8, 3\) and image2 \(7, 8, 3\)"),
        (("a.png", "b.png"), "pair 2: image1 is a path"),
        ((np.zeros((8, 2000, 3), np.uint8),) * 2, r"pair 2: tiny: image is 8x2000 .* at most"),
        (IMAGE, r"pair 2: expected \(image1, image2\), not ndarray: too many .* use stream\."),
        (3, r"pair 2: expected \(image1, image2\), not int: cannot unpack"),
    ],
)
def test_errors_have_the_index_of_the_pair(fake, pair, message, new_threads):
    fake.backend.profile = SizeProfile((1, 64, 64), (1, 64, 64), (4, 256, 320))
    flows = fake.infer_many([(IMAGE, IMAGE), (IMAGE, IMAGE), pair, (IMAGE, IMAGE)])
    assert [next(flows).shape, next(flows).shape] == [(8, 8, 2)] * 2
    with pytest.raises(InputError, match=message):
        next(flows)
    assert new_threads() == []


def test_runtime_errors_have_the_index_of_the_pair(fake):
    fake.backend.run = failing
    message = r"^pair 0: tiny: fake 1 failed on 1 pair\(s\) of 8x8: out of memory\.$"
    with pytest.raises(BackendError, match=message):
        next(fake.infer_many([(IMAGE, IMAGE)] * 2))


def test_closing_the_engine_meanwhile(fake):
    flows = fake.infer_many(itertools.repeat((IMAGE, IMAGE)))
    next(flows)
    fake.close()
    with pytest.raises(BackendError, match=r"^pair \d: this engine is closed\. Load another"):
        list(itertools.islice(flows, 10))


def test_bad_arguments_raise_at_once(fake):
    with pytest.raises(InputError, match=r"color is 'bgrr'; expected 'rgb' or 'bgr'"):
        fake.infer_many([], color="bgrr")
    message = r"pairs is a path \('pairs'\); expected an iterable of pairs of arrays"
    with pytest.raises(InputError, match=message):
        fake.infer_many("pairs")
