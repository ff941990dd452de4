"""Responses of the Open Inference Protocol."""

import json
from typing import Any

import numpy as np

from engine.serving.errors import RequestError
from engine.serving.models import FLOW, VERSION, Model
from engine.serving.request import InferRequest
from engine.types import Flow

# Writing them as text holds up all other requests, 0.5 s a million.
_MOST_JSON_VALUES = 1 << 20


def encode_response(
    model: Model, request: InferRequest, flow: Flow
) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of the response with a flow, (N, H, W, 2) float32.

    Raises:
        RequestError: The flow is too large for JSON.
    """
    output: dict[str, Any] = {"name": FLOW, "datatype": "FP32", "shape": list(flow.shape)}
    content: dict[str, Any] = {"model_name": model.name, "model_version": VERSION}
    content |= {"id": request.id, "outputs": [output]} if request.id else {"outputs": [output]}
    if not request.binary:
        if flow.size > _MOST_JSON_VALUES:
            raise RequestError(
                400,
                f"the flow has {flow.size} values; expected at most {_MOST_JSON_VALUES} in JSON. "
                "Ask for a binary tensor (binary_data).",
            )
        output["data"] = flow.reshape(-1).tolist()
        return _json(content), {"content-type": "application/json"}
    data = np.ascontiguousarray(flow, "<f4").data.cast("B")
    output["parameters"] = {"binary_data_size": data.nbytes}
    text = _json(content)
    headers = {
        "content-type": "application/octet-stream",
        "inference-header-content-length": str(len(text)),
    }
    return b"".join((text, data)), headers


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":"), allow_nan=False).encode()
