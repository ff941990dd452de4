"""Responses, against tritonclient's own decoder."""

import json

import numpy as np
import pytest
import tritonclient.http as triton

from engine.serving.errors import RequestError
from engine.serving.models import PAIR
from engine.serving.request import InferRequest
from engine.serving.response import encode_response


def request(*, binary, name=""):
    return InferRequest(id=name, images={}, sequence=None, binary=binary)


@pytest.mark.parametrize("binary", [True, False])
def test_tritonclient_reads_it(rng, binary):
    flow = rng.normal(0, 20, (2, 3, 4, 2)).astype(np.float32)
    body, headers = encode_response(PAIR, request(binary=binary, name="a"), flow)
    length = headers.get("inference-header-content-length")
    assert (length is not None) == binary
    result = triton.InferenceServerClient.parse_response_body(
        body, header_length=length and int(length)
    )
    np.testing.assert_array_equal(result.as_numpy("flow"), flow)
    content = result.get_response()
    assert (content["model_name"], content["model_version"], content["id"]) == (
        "flow_pair",
        "1",
        "a",
    )


def test_by_hand():
    body, headers = encode_response(
        PAIR, request(binary=False), np.array([[[[0.5, -1]]]], np.float32)
    )
    assert headers == {"content-type": "application/json"}
    assert json.loads(body) == {
        "model_name": "flow_pair",
        "model_version": "1",
        "outputs": [{"name": "flow", "datatype": "FP32", "shape": [1, 1, 1, 2], "data": [0.5, -1]}],
    }


def test_large_flow_is_no_json():
    with pytest.raises(RequestError, match=r"Ask for a binary tensor") as caught:
        encode_response(PAIR, request(binary=False), np.zeros((1, 1025, 1024, 2), np.float32))
    assert caught.value.status == 400
