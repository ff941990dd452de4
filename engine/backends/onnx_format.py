"""Check an ONNX file before a runtime reads it: it is ONNX, and refers to no data outside itself.

Runtimes recognise other formats by their content, and follow `external data`, to files anywhere and
to addresses in memory, which no hash of the bundle covers. An ONNX file is a protobuf message:
https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Iterator

# By message of onnx.proto: the fields that may contain tensors, and their messages.
# https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
MESSAGES: dict[str, dict[int, str]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        10: "TensorProto",
        6: "GraphProto",
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "TensorProto": {},
}
_GRAPH = 7
# Fields of a TensorProto, and a value of the first.
DATA_TYPE, EXTERNAL_DATA, DATA_LOCATION = 2, 13, 14
_INT8 = 3
# Wire types; 3 and 4, groups, are of an older protobuf and occur in no ONNX file.
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_DEEPEST = 100  # the limit of protobuf's own parsers
_ORT_FORMAT = slice(4, 8), b"ORTM"  # file identifier of ONNX Runtime's own format

# Number and wire type of a field, and where its content starts and ends.
Field = tuple[int, int, int, int]


class OnnxFormatError(Exception):
    """A file is not ONNX, or not self-contained; the text continues its name."""


def check_onnx(content: bytes) -> bool:
    """Check that a file is an ONNX model with all its data inside.

    Args:
        content: the whole file.

    Returns:
        Whether it has int8 tensors: quantised weights.

    Raises:
        OnnxFormatError: it is not.
    """
    where, identifier = _ORT_FORMAT
    if content[where] == identifier:
        raise OnnxFormatError("is of ONNX Runtime's own format; expected ONNX")
    graphs = int8 = 0
    # A list, no recursion: files choose how deep they are.
    pending = [("ModelProto", 0, len(content), 0)]
    while pending:
        message, start, end, depth = pending.pop()
        if depth > _DEEPEST:
            raise OnnxFormatError(f"is no valid ONNX: its graphs are nested over {_DEEPEST} deep")
        inner = MESSAGES[message]
        for number, wire, first, last in _fields(content, start, end):
            if message == "TensorProto":
                value = _varint(content, first)[0] if wire == _VARINT else 0
                int8 += number == DATA_TYPE and value == _INT8
                _refuse_outside(number, value)
            elif wire == _LENGTH and number in inner:
                graphs += depth == 0 and number == _GRAPH
                pending.append((inner[number], first, last, depth + 1))
    if not graphs:
        raise OnnxFormatError("is no valid ONNX: it has no graph")
    return int8 > 0


def _refuse_outside(number: int, value: int) -> None:
    if number == EXTERNAL_DATA or (number == DATA_LOCATION and value):
        raise OnnxFormatError(
            "has external data: a tensor that is in another file or in memory, which the "
            "manifest's hashes do not cover. Expected a model with all its tensors inside"
        )


def _fields(content: bytes, at: int, end: int) -> Iterator[Field]:
    """Yield the fields of the message in ``content[at:end]``."""
    while at < end:
        tag, at = _varint(content, at)
        wire = tag & 7
        start = at
        if wire == _LENGTH:
            length, start = _varint(content, at)
            at = start + length
        elif wire == _VARINT:
            _, at = _varint(content, at)
        elif wire == _FIXED32:
            at += 4
        elif wire == _FIXED64:
            at += 8
        else:
            raise OnnxFormatError(f"is no valid ONNX: wire type {wire} at byte {at}")
        if at > end:
            raise OnnxFormatError(f"is no valid ONNX: it is truncated or damaged at byte {start}")
        yield tag >> 3, wire, start, at


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """Return the number at a position, and the position after it."""
    if at < len(content) and content[at] < 0x80:  # nearly all are one byte
        return content[at], at + 1
    value = 0
    for shift, byte in enumerate(content[at : at + 10]):
        value |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            return value, at + shift + 1
    raise OnnxFormatError(f"is no valid ONNX: it is truncated or damaged at byte {at}")
