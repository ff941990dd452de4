"""Requests, against tritonclient's own encoder and by hand."""

import json
import string
import tracemalloc

import numpy as np
import pytest
import tritonclient.http as triton
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.serving.errors import RequestError
from engine.serving.models import PAIR, STREAM
from engine.serving.request import Sequence, parse_request
from engine.serving.tensors import Limits

LIMITS = Limits(pairs=4, pixels=1000)


def encoded(images, *, binary=True, **arguments):
    """Return body and JSON length as tritonclient sends them."""
    inputs = []
    for name, image in images.items():
        inputs.append(triton.InferInput(name, image.shape, "UINT8"))
        inputs[-1].set_data_from_numpy(image, binary_data=binary)
    body, length = triton.InferenceServerClient.generate_request_body(inputs, **arguments)
    return bytes(body), None if length is None else str(length)


def pair_of(rng, *shape):
    return dict(zip(("image1", "image2"), rng.integers(0, 256, (2, *shape), np.uint8), strict=True))


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9)),
    binary=st.booleans(),
    wanted=st.sampled_from([None, True, False]),
    name=st.text(string.printable, max_size=9),
)
def test_reads_what_tritonclient_writes(seed, shape, binary, wanted, name):
    images = pair_of(np.random.default_rng(seed), *shape, 3)
    outputs = None if wanted is None else [triton.InferRequestedOutput("flow", binary_data=wanted)]
    body, length = encoded(images, binary=binary, outputs=outputs, request_id=name)
    request = parse_request(body, length, PAIR, LIMITS)
    assert request.id == name
    assert request.sequence is None
    assert request.binary == (wanted is not False)  # tritonclient asks for binary by default
    assert {*request.images} == {"image1", "image2"}
    for key, image in images.items():
        assert request.images[key].dtype == np.uint8
        np.testing.assert_array_equal(request.images[key], image)


@pytest.mark.parametrize("name", [7, 2**64 - 1, "clip"])
@pytest.mark.parametrize(("start", "end"), [(True, False), (False, False), (False, True)])
def test_sequence(rng, name, start, end):
    frame = {"image": rng.integers(0, 256, (1, 4, 5, 3), np.uint8)}
    body, length = encoded(frame, sequence_id=name, sequence_start=start, sequence_end=end)
    assert parse_request(body, length, STREAM, LIMITS).sequence == Sequence(name, start, end)


@settings(max_examples=60)
@given(st.data())
def test_damaged_bytes_are_refused_or_read(data):
    body, length = encoded(pair_of(np.random.default_rng(0), 1, 2, 2, 3))
    damaged = bytearray(body)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    damaged = damaged[: data.draw(st.integers(0, len(body)))]
    length = data.draw(
        st.sampled_from([length, None, "", "-1", "0", "12", "9" * 40, "\N{DIGIT ONE}"])
    )
    check_refused_or_read(bytes(damaged), length, PAIR)


def check_refused_or_read(body, length, model):
    error = None
    try:
        parse_request(body, length, model, LIMITS)
    except RequestError as caught:
        error = caught
    assert error is None or error.status in (400, 413)
    assert error is None or (str(error).endswith(".") and len(str(error)) < 700)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("inputs", "name", "shape", "datatype", "data", "parameters", "outputs", "id"),
                    *("binary_data_size", "sequence_id", "sequence_start", "binary_data"),
                    *("image", "flow"),
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=40)
@given(JSON)
def test_any_json_is_refused_or_read(content):
    for candidate in (content, {"inputs": [content]}, valid() | {"parameters": content}):
        check_refused_or_read(json.dumps(candidate).encode(), None, STREAM)


def valid(**changes):
    tensor = {
        "name": "image",
        "shape": [1, 1, 2, 3],
        "datatype": "UINT8",
        "data": [0, 1, 2, 3, 4, 5],
    }
    return {"inputs": [tensor | changes]}


def test_nested_data():
    body = json.dumps(valid(data=[[[[0, 1, 2], [3, 4, 255]]]])).encode()
    image = parse_request(body, None, STREAM, LIMITS).images["image"]
    assert image.tolist() == [[[[0, 1, 2], [3, 4, 255]]]]


LONG = "[" * 100_000
REFUSED = {
    "no JSON": (b"{", "the request is not JSON: "),
    "no UTF-8": (b"\xff", "the request is not JSON: "),
    "deep JSON": (LONG.encode(), "the request is not JSON: "),
    "NaN": (b'{"inputs": NaN}', "the request is not JSON: "),
    "a list": (b"[]", "the request is list; expected a JSON object"),
    "no inputs": (b"{}", "the request has no 'inputs'; expected a list"),
    "inputs of numbers": ({"inputs": [1]}, r"inputs\[0\] is int; expected an object"),
    "a datatype": (valid(datatype="FP32"), "has datatype 'FP32'; expected UINT8: RGB in 0..255"),
    "a float": (valid(data=[0.5] * 6), "expected those from 0 to 255"),
    "a bool": (valid(data=[True] * 6), "expected those from 0 to 255"),
    "a large level": (valid(data=[256] * 6), "expected those from 0 to 255"),
    "a huge level": (valid(data=[10**30] * 6), "expected those from 0 to 255"),
    "a negative level": (valid(data=[-1] * 6), "expected those from 0 to 255"),
    "ragged data": (valid(data=[[1], [2, 3]]), "expected those from 0 to 255"),
    "texts": (valid(data=["1"] * 6), "expected those from 0 to 255"),
    "deep data": (valid(data=json.loads("[" * 90 + "]" * 90)), "expected those from 0 to 255"),
    "too few levels": (valid(data=[1] * 5), r"has 5 values; its shape \[1, 1, 2, 3\] has 6"),
    "a flat shape": (valid(shape=[1, 2, 3]), r"expected \[N, height, width, 3\]"),
    "four channels": (valid(shape=[1, 1, 2, 4]), r"expected \[N, height, width, 3\]"),
    "an empty image": (valid(shape=[1, 0, 2, 3]), r"expected \[N, height, width, 3\]"),
    "a shape of floats": (valid(shape=[1.0, 1, 2, 3]), r"expected \[N, height, width, 3\]"),
    "many images": (valid(shape=[5, 1, 2, 3]), "has 5 images; expected at most 4"),
    "very many images": (valid(shape=[10**400, 1, 2, 3]), r"has more than 10\^12 images; expected"),
    "no data": ({"inputs": [{"name": "image"}]}, "needs either data or the parameter"),
    "both kinds of data": (valid(parameters={"binary_data_size": 6}), "needs either data or"),
    "another input": (valid(name="x"), "flow_stream got the inputs x; expected image"),
    "an input twice": ({"inputs": valid()["inputs"] * 2}, "is given twice"),
    "another output": (valid() | {"outputs": [{"name": "y"}]}, "asks for the outputs"),
    "classes": (
        valid() | {"outputs": [{"name": "flow", "parameters": {"classification": 1}}]},
        "flow has no classes",
    ),
    "a sequence of floats": (valid() | {"parameters": {"sequence_id": 1.5}}, "sequence_id is no"),
    "a start of 1": (
        valid() | {"parameters": {"sequence_id": 1, "sequence_start": 1}},
        "'sequence_start' of the parameters is int; expected true or false",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", REFUSED)
def test_refused(fault):
    content, text = REFUSED[fault]
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    with pytest.raises(RequestError, match=text) as caught:
        parse_request(body, None, STREAM, LIMITS)
    assert caught.value.status == 400


def test_too_many_pixels():
    with pytest.raises(RequestError, match="has 1002 pixels; expected at most 1000") as caught:
        parse_request(json.dumps(valid(shape=[2, 1, 501, 3])).encode(), None, STREAM, LIMITS)
    assert caught.value.status == 413
    body = json.dumps(valid(shape=[1, 10**400, 2, 3])).encode()
    with pytest.raises(RequestError, match=r"has more than 10\^12 pixels; expected"):
        parse_request(body, None, STREAM, LIMITS)


def test_a_long_text_among_many_short_ones_takes_no_memory():
    body = json.dumps(valid(data=["x" * 10_000] + ["y"] * 2000)).encode()
    tracemalloc.start()
    with pytest.raises(RequestError, match="expected those from 0 to 255"):
        parse_request(body, None, STREAM, LIMITS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20


def test_too_much_json():
    with pytest.raises(RequestError, match="Send images as binary tensors") as caught:
        parse_request(bytes(9 << 20), None, STREAM, LIMITS)
    assert caught.value.status == 413


def test_lengths_of_binary_tensors(rng):
    body, length = encoded({"image": rng.integers(0, 256, (1, 1, 2, 3), np.uint8)})
    for wrong, text in (
        ("-1", "Inference-Header-Content-Length is '-1'; expected the length of the JSON, at most"),
        (str(len(body) + 1), "at most the .* bytes of the body"),
        (str(int(length) - 1), "the request is not JSON"),
    ):
        with pytest.raises(RequestError, match=text):
            parse_request(body, wrong, STREAM, LIMITS)
    with pytest.raises(RequestError, match="has binary_data_size 6, but 5 bytes are left"):
        parse_request(body[:-1], length, STREAM, LIMITS)
    with pytest.raises(RequestError, match="has 1 bytes after the last input; expected none"):
        parse_request(body + b"x", length, STREAM, LIMITS)
