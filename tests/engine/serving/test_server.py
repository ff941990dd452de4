"""The whole server, asked by tritonclient and http.client."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tritonclient.http as triton

import engine
from engine.bundle.manifest import read_manifest
from tests.engine.serving.test_request import encoded
from tests.support.fake_backend import failing
from tests.support.serving import ask, error_of, fake, place_of, running

# One float32 rounding of values up to 128.
TOLERANCE = 1e-5
PAIR, STREAM = "/v2/models/flow_pair/infer", "/v2/models/flow_stream/infer"


@pytest.fixture(scope="module")
def server(tiny_bundle):
    with (
        engine.load(tiny_bundle, backend="onnxruntime", threads=1) as flow_engine,
        running(flow_engine, max_pixels=20_000, max_bytes=200_000) as server,
    ):
        yield server


def client_of(server):
    return triton.InferenceServerClient(place_of(server), concurrency=4)


def inputs(**images):
    result = []
    for name, image in images.items():
        result.append(triton.InferInput(name, image.shape, "UINT8"))
        result[-1].set_data_from_numpy(image)
    return result


def pair(rng, *shape):
    return rng.integers(0, 256, (2, *shape, 3), np.uint8)


def request(rng, *shape, **arguments):
    """Return body and headers of a request to ``flow_pair``."""
    body, length = encoded(dict(zip(("image1", "image2"), pair(rng, *shape), strict=True)))
    return body, {"Inference_Header_Content_Length": length} | arguments


def test_what_the_server_says_of_itself(server):
    client = client_of(server)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_server_metadata()["version"] == engine.__version__
    for name, images in (("flow_pair", ["image1", "image2"]), ("flow_stream", ["image"])):
        assert client.is_model_ready(name)
        assert client.is_model_ready(name, "1")
        metadata = client.get_model_metadata(name)
        assert metadata["versions"] == ["1"]
        assert metadata["inputs"] == [
            {"name": image, "datatype": "UINT8", "shape": [-1, -1, -1, 3]} for image in images
        ]
        assert metadata["outputs"] == [
            {"name": "flow", "datatype": "FP32", "shape": [-1, -1, -1, 2]}
        ]
    assert not client.is_model_ready("flow_triple")
    assert json.loads(ask(server, "GET", "/health")[2])["backend"] == "onnxruntime"


@pytest.mark.parametrize("shape", [(1, 64, 64), (2, 30, 65), (1, 1, 1)])
def test_flow_of_a_pair(server, tiny_flow, rng, shape):
    image1, image2 = pair(rng, *shape)
    result = client_of(server).infer("flow_pair", inputs(image1=image1, image2=image2))
    np.testing.assert_allclose(result.as_numpy("flow"), tiny_flow(image1, image2), atol=TOLERANCE)


def test_a_sequence_sends_each_frame_once(server, tiny_flow, rng):
    frames = rng.integers(0, 256, (4, 1, 40, 70, 3), np.uint8)
    client = client_of(server)
    for index, frame in enumerate(frames):
        result = client.infer(
            "flow_stream",
            inputs(image=frame),
            sequence_id="clip",
            sequence_start=index == 0,
            sequence_end=index == 3,
        )
        flow = result.as_numpy("flow")
        if index == 0:
            assert flow.shape == (1, 40, 70, 2)
            assert not flow.any()
        else:
            wanted = tiny_flow(frames[index - 1], frame)
            np.testing.assert_allclose(flow, wanted, atol=TOLERANCE)
    with pytest.raises(triton.InferenceServerException, match="sequence 'clip' is not open"):
        client.infer("flow_stream", inputs(image=frames[0]), sequence_id="clip")


def test_many_clients_at_once(server, tiny_flow, rng):
    pairs = [pair(rng, 1, *size) for size in ((40, 60), (64, 64)) * 8]

    def flow_of(images):
        body, length = encoded(dict(zip(("image1", "image2"), images, strict=True)))
        status, headers, answer = ask(
            server, "POST", PAIR, body, Inference_Header_Content_Length=length
        )
        assert status == 200
        length = int(headers["inference-header-content-length"])
        result = triton.InferenceServerClient.parse_response_body(answer, header_length=length)
        return result.as_numpy("flow")

    with ThreadPoolExecutor(8) as threads:
        for images, flow in zip(pairs, threads.map(flow_of, pairs), strict=True):
            np.testing.assert_allclose(flow, tiny_flow(*images), atol=TOLERANCE)


REFUSED = {
    "an unknown path": ("GET", "/v3", b"", {}, 404, "GET /v3: Not Found"),
    "an unknown model": ("POST", "/v2/models/x/infer", b"", {}, 404, "there is no model 'x'"),
    "an unknown version": (
        *("GET", "/v2/models/flow_pair/versions/2", b"", {}),
        *(404, "flow_pair has no version '2'; expected 1"),
    ),
    "another method": ("GET", PAIR, b"", {}, 405, "Method Not Allowed"),
    "bad JSON": ("POST", PAIR, b"{", {}, 400, "the request is not JSON"),
    "half a surrogate pair": (
        *("POST", PAIR),
        *(rb'{"inputs": [{"name": "\ud800", "shape": [], "datatype": "", "data": 0}]}', {}),
        *(400, "got the inputs \ud800; expected image1, image2"),
    ),
    "a wrong length": (
        *("POST", PAIR, b"{}", {"Inference_Header_Content_Length": "3"}),
        *(400, "Inference-Header-Content-Length is '3'"),
    ),
    "a compressed body": (
        *("POST", PAIR, b"{}", {"Content_Encoding": "gzip"}),
        *(415, "send it without Content-Encoding"),
    ),
    "a body that says it is too long": (
        *("POST", PAIR, bytes(200_001), {}),
        *(413, "expected at most 200000 bytes"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", REFUSED)
def test_refused(server, fault):
    method, path, body, headers, status, text = REFUSED[fault]
    answer = ask(server, method, path, body, **headers)
    assert answer[0] == status
    assert text in error_of(answer[2])


def test_wrong_images_are_refused(server, rng):
    client = client_of(server)
    small, large = np.zeros((1, 2, 2, 3), np.uint8), np.zeros((1, 101, 200, 3), np.uint8)
    wrong = triton.InferInput("image1", (1, 2, 2, 3), "FP32")
    wrong.set_data_from_numpy(np.full((1, 2, 2, 3), np.nan, np.float32))
    for name, tensors, text in (
        ("flow_pair", inputs(image1=small), "got the inputs image1; expected image1, image2"),
        ("flow_pair", inputs(image1=small, image2=large), "has 20200 pixels; expected at most"),
        ("flow_pair", inputs(image1=small, image2=small[:, :1]), "expected the same"),
        ("flow_pair", [wrong, *inputs(image2=small)], "has datatype 'FP32'; expected UINT8"),
        ("flow_stream", inputs(image=small), "got no sequence_id"),
        ("flow_stream", inputs(image=np.zeros((2, 2, 2, 3), np.uint8)), "got no sequence_id"),
    ):
        with pytest.raises(triton.InferenceServerException, match=text):
            client.infer(name, tensors)
    with pytest.raises(triton.InferenceServerException, match="got 2 frames"):
        client.infer("flow_stream", inputs(image=small.repeat(2, 0)), sequence_id=1)


def test_metrics(tiny_bundle, rng):
    with fake(tiny_bundle, blocking=False) as (server, _):
        body, headers = request(rng, 2, 8, 8)
        assert ask(server, "POST", PAIR, body, **headers)[0] == 200
        assert ask(server, "POST", PAIR, b"{")[0] == 400
        assert ask(server, "POST", "/v2/models/x/infer")[0] == 404
        frame = {"image": np.zeros((1, 2, 2, 3), np.uint8)}
        body, length = encoded(frame, sequence_id=1, sequence_start=True)
        ask(server, "POST", STREAM, body, Inference_Header_Content_Length=length)
        status, headers, text = ask(server, "GET", "/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=")
    lines = text.decode().splitlines()
    for line in (
        'flow_requests_total{model="flow_pair",status="200"} 1.0',
        'flow_requests_total{model="flow_pair",status="400"} 1.0',
        'flow_requests_total{model="unknown",status="404"} 1.0',
        'flow_request_seconds_count{model="flow_pair"} 1.0',
        "flow_batch_pairs_sum 2.0",
        "flow_requests_active 0.0",
        "flow_sequences 1.0",
    ):
        assert line in lines


def test_token(tiny_bundle):
    with fake(tiny_bundle, blocking=False, token="secret-of-16-chars") as (server, _):
        for path in ("/health", "/v2/health/live", "/v2/health/ready"):
            assert ask(server, "GET", path)[0] == 200
        for shown in ({}, {"Authorization": "Bearer secret-of-16-char"}, {"Authorization": "é"}):
            for path in ("/v2", "/metrics", "/v2/models/flow_pair", "/v2/models/x"):
                status, headers, body = ask(server, "GET", path, **shown)
                assert status == 401
                assert headers["www-authenticate"] == "Bearer"
                assert "the token is missing or wrong" in error_of(body)
        assert ask(server, "GET", "/metrics", Host="x/health?")[0] == 401
        shown = {"Authorization": "Bearer secret-of-16-chars"}
        assert ask(server, "GET", "/v2", **shown)[0] == 200


def test_more_requests_than_places(tiny_bundle, rng):
    with (
        fake(tiny_bundle, queue=2, max_batch=1) as (server, backend),
        ThreadPoolExecutor() as threads,
    ):
        body, headers = request(rng, 1, 8, 8)
        running = [threads.submit(ask, server, "POST", PAIR, body, **headers) for _ in range(2)]
        until_active(server, 2)
        status, answered, refusal = ask(server, "POST", PAIR, body, **headers)
        assert (status, answered["retry-after"]) == (503, "1")
        assert "2 requests are being answered" in error_of(refusal)
        for _ in range(2):
            backend.proceed.release()
        assert [future.result(30)[0] for future in running] == [200, 200]


def until_active(server, count):
    deadline = time.monotonic() + 30
    while f"flow_requests_active {count}.0" not in ask(server, "GET", "/metrics")[2].decode():
        assert time.monotonic() < deadline


def test_a_flow_that_is_too_late(tiny_bundle, rng):
    with fake(tiny_bundle, timeout=1) as (server, _):
        body, headers = request(rng, 1, 8, 8)
        status, _, answer = ask(server, "POST", PAIR, body, **headers)
    assert status == 504
    assert "no flow in 1 s: the server is busy" in error_of(answer)


def test_errors_of_the_backend(tiny_bundle, rng, monkeypatch):
    with fake(tiny_bundle, blocking=False) as (server, backend):
        body, headers = request(rng, 1, 8, 8)
        monkeypatch.setattr(backend, "run", failing)
        status, _, answer = ask(server, "POST", PAIR, body, **headers)
        assert status == 500
        assert "failed on 1 pair(s) of 8x8: out of memory." in error_of(answer)
        monkeypatch.undo()
        assert ask(server, "POST", PAIR, body, **headers)[0] == 200


def test_sizes_that_the_engine_refuses(tiny_bundle, rng, monkeypatch):
    with fake(tiny_bundle, blocking=False) as (server, backend):
        monkeypatch.setattr(backend, "profile", read_manifest(tiny_bundle).profile)
        body, headers = request(rng, 1, 8, 400)
        status, _, answer = ask(server, "POST", PAIR, body, **headers)
        assert status == 400
        assert "8x400" in error_of(answer)


def test_the_end_waits_for_running_requests(tiny_bundle, rng):
    body, headers = request(rng, 1, 8, 8)
    with ThreadPoolExecutor() as threads, fake(tiny_bundle) as (server, backend):
        answer = threads.submit(ask, server, "POST", PAIR, body, **headers)
        assert backend.entered.acquire(timeout=30)
        server.handle_exit(15, None)
        threading.Timer(0.3, backend.proceed.release).start()
        assert answer.result(30)[0] == 200


@pytest.mark.parametrize("signals", [1, 2])
def test_no_thread_is_left(tiny_bundle, rng, new_threads, signals):
    """Not even if a second signal ends the server while it computes."""
    body, headers = request(rng, 1, 8, 8)
    with ThreadPoolExecutor() as threads, fake(tiny_bundle) as (server, backend):
        answer = threads.submit(ask, server, "POST", PAIR, body, **headers)
        assert backend.entered.acquire(timeout=30)
        for _ in range(signals):
            server.handle_exit(15, None)
        backend.proceed.release()
        answer.exception(30)
    assert new_threads() == []
