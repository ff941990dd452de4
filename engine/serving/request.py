"""Requests of the Open Inference Protocol: JSON, and binary tensors after it.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md;
extensions "binary tensor data" and "sequence" of triton-inference-server/server, docs/protocol.
"""

from dataclasses import dataclass
from typing import Any

from engine.bundle.strict_json import strict_json
from engine.serving.errors import RequestError
from engine.serving.models import FLOW, Model
from engine.serving.tensors import Limits, Tensor, image_of
from engine.types import Image

# Parsing it holds up all other requests: 8 MiB take 0.1 s.
_LONGEST_JSON = 1 << 23
_KINDS = {
    dict: "an object",
    list: "a list",
    str: "a string",
    bool: "true or false",
    int: "a number",
}


@dataclass(frozen=True)
class Sequence:
    """Where in a sequence of frames a request stands.

    Attributes:
        id: of the sequence.
        start: whether it begins here.
        end: whether it ends here.
    """

    id: int | str
    start: bool
    end: bool


@dataclass(frozen=True)
class InferRequest:
    """A request whose images are checked.

    Attributes:
        id: the client's name of the request, which the response repeats.
        images: by input, (N, H, W, 3) uint8 RGB.
        sequence: None: the request is of none.
        binary: whether the flow is sent as a binary tensor.
    """

    id: str
    images: dict[str, Image]
    sequence: Sequence | None
    binary: bool


def parse_request(
    body: bytes | bytearray, json_length: str | None, model: Model, limits: Limits
) -> InferRequest:
    """Return what a request asks of a model.

    Args:
        body: JSON, and after it the binary tensors in the order of the inputs.
        json_length: the header ``Inference-Header-Content-Length``; None: all is JSON.
        model: the model.
        limits: of the images.

    Raises:
        RequestError: The request is malformed, or the model does not take it; status 400 or 413.
    """
    length = _json_length(json_length, len(body))
    content = _json(body[:length])
    parameters = _get(content, "parameters", dict, "the request", {})
    tensors = _tensors(content, memoryview(body)[length:])
    if {*tensors} != {*model.inputs}:
        raise _bad(
            f"{model.name} got the inputs {_names(tensors)}; expected {_names(model.inputs)}"
        )
    images = {name: image_of(tensors[name], limits) for name in model.inputs}
    return InferRequest(
        id=_get(content, "id", str, "the request", ""),
        images=images,
        sequence=_sequence(parameters),
        binary=_is_binary(content, parameters),
    )


def _json_length(text: str | None, total: int) -> int:
    if text is None:
        length = total
    elif text.isascii() and text.isdigit() and len(text) < 16 and int(text) <= total:
        length = int(text)
    else:
        raise _bad(
            f"Inference-Header-Content-Length is {text!r:.40}; expected the length of the JSON, at "
            f"most the {total} bytes of the body"
        )
    if length > _LONGEST_JSON:
        raise RequestError(
            413,
            f"the JSON of the request has {length} bytes; expected at most {_LONGEST_JSON}. Send "
            "images as binary tensors (binary_data_size).",
        )
    return length


def _json(text: bytes | bytearray) -> dict[str, Any]:
    try:
        content = strict_json(text.decode())
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise _bad(
            f"the request is not JSON: {reason:.200}; expected an object with inputs"
        ) from None
    if not isinstance(content, dict):
        raise _bad(f"the request is {type(content).__name__}; expected a JSON object with inputs")
    return content


def _tensors(content: dict[str, Any], binary: memoryview) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    at = 0
    for index, item in enumerate(_get(content, "inputs", list, "the request")):
        if not isinstance(item, dict):
            raise _bad(f"inputs[{index}] is {type(item).__name__}; expected an object")
        name = _get(item, "name", str, f"inputs[{index}]")
        where = f"the input {name!r:.80}"
        if name in tensors:
            raise _bad(f"{where} is given twice; expected each once")
        size = _get(_get(item, "parameters", dict, where, {}), "binary_data_size", int, where, None)
        if (size is None) == ("data" not in item):
            raise _bad(f"{where} needs either data or the parameter binary_data_size")
        if size is not None and not 0 <= size <= len(binary) - at:
            raise _bad(
                f"{where} has binary_data_size {size}, but {len(binary) - at} bytes are left in "
                "the body after the JSON; the body is truncated, or the header's length wrong"
            )
        data = item["data"] if size is None else binary[at : at + size]
        at += size or 0
        shape = _get(item, "shape", list, where)
        tensors[name] = Tensor(where, _get(item, "datatype", str, where), shape, data)
    if at != len(binary):
        raise _bad(
            f"the body has {len(binary) - at} bytes after the last input; expected none. Check the "
            "binary_data_size of the inputs"
        )
    return tensors


def _sequence(parameters: dict[str, Any]) -> Sequence | None:
    where = "the parameters"
    name = parameters.get("sequence_id")
    if isinstance(name, bool) or not isinstance(name, int | str | None):
        raise _bad("sequence_id is no whole number and no string; expected one of these")
    start, end = (
        _get(parameters, f"sequence_{edge}", bool, where, False) for edge in ("start", "end")
    )
    if not name:  # 0 and "" as well, says the protocol
        return None
    if len(str(name)) > 128:
        raise _bad("sequence_id is longer than 128 characters; expected a shorter one")
    return Sequence(name, start, end)


def _is_binary(content: dict[str, Any], parameters: dict[str, Any]) -> bool:
    binary: bool = _get(parameters, "binary_data_output", bool, "the parameters", False)
    outputs = _get(content, "outputs", list, "the request", [])
    names = [item.get("name") if isinstance(item, dict) else None for item in outputs]
    if not outputs:
        return binary
    if names != [FLOW]:
        raise _bad(f"the request asks for the outputs {names!r:.100}; expected {[FLOW]}, or none")
    wanted = _get(outputs[0], "parameters", dict, "the output", {})
    if "classification" in wanted:
        raise _bad("flow has no classes; leave the parameter classification out")
    return bool(_get(wanted, "binary_data", bool, "the output", binary))


def _get(content: dict[str, Any], key: str, kind: type, where: str, *default: Any) -> Any:
    """Return an entry of a JSON object, of this type; without a default it has to be there."""
    if key not in content:
        if default:
            return default[0]
        raise _bad(f"{where} has no {key!r}; expected {_KINDS[kind]}")
    value = content[key]
    if type(value) is not kind:
        raise _bad(f"{key!r} of {where} is {type(value).__name__}; expected {_KINDS[kind]}")
    return value


def _names(names: Any) -> str:
    return f"{', '.join(sorted(names)) or 'none'!s:.200}"


def _bad(text: str) -> RequestError:
    return RequestError(400, f"{text}.")
