"""Which ONNX files are refused before a runtime reads them."""

import onnx
import pytest
from google.protobuf.descriptor import Descriptor
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from engine.backends.onnx_format import (
    DATA_LOCATION,
    DATA_TYPE,
    EXTERNAL_DATA,
    MESSAGES,
    OnnxFormatError,
    check_onnx,
)
from tests.support.tiny_network import tiny_int8_model, tiny_model

TINY = tiny_model().SerializeToString()


def messages_with_tensors(root: Descriptor) -> dict[str, dict[int, str]]:
    """The fields that lead to a TensorProto, by message, from the descriptors of the package."""
    known, pending = {}, [root]
    while pending:
        message = pending.pop()
        if message.name not in known:
            inner = {field.number: field.message_type for field in message.fields}
            known[message.name] = {number: kind.name for number, kind in inner.items() if kind}
            pending += filter(None, inner.values())
    holding = {"TensorProto"}
    for _ in known:  # as often as the longest path is long
        holding |= {name for name, fields in known.items() if holding & {*fields.values()}}
    return {
        name: {number: kind for number, kind in known[name].items() if kind in holding}
        for name in holding
    }


def test_every_field_of_onnx_that_may_contain_a_tensor_is_searched():
    assert messages_with_tensors(onnx.ModelProto.DESCRIPTOR) == MESSAGES
    numbers = TensorProto.DESCRIPTOR.fields_by_name
    assert numbers["data_type"].number == DATA_TYPE
    assert numbers["external_data"].number == EXTERNAL_DATA
    assert numbers["data_location"].number == DATA_LOCATION


def outside(*, location: bool = True, data: bool = True) -> TensorProto:
    tensor = TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=[2])
    if location:
        tensor.data_location = TensorProto.EXTERNAL
    if data:
        tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


def sparse(*, values: bool) -> onnx.SparseTensorProto:
    inside = TensorProto(data_type=TensorProto.INT64, dims=[0])
    return onnx.SparseTensorProto(
        values=outside() if values else inside, indices=inside if values else outside(), dims=[2]
    )


def attribute(**fields) -> onnx.AttributeProto:
    return onnx.AttributeProto(name="value", **fields)


def node(**fields) -> onnx.NodeProto:
    return onnx.NodeProto(op_type="If", attribute=[attribute(**fields)])


def graph(**fields) -> onnx.GraphProto:
    return onnx.GraphProto(name="inner", **fields)


IN_A_GRAPH = {
    "initializer": graph(initializer=[outside()]),
    "location alone": graph(initializer=[outside(data=False)]),
    "entries alone": graph(initializer=[outside(location=False)]),
    "sparse values": graph(sparse_initializer=[sparse(values=True)]),
    "sparse indices": graph(sparse_initializer=[sparse(values=False)]),
    "attribute": graph(node=[node(t=outside())]),
    "attributes": graph(node=[node(tensors=[outside()])]),
    "sparse attribute": graph(node=[node(sparse_tensor=sparse(values=True))]),
    "sparse attributes": graph(node=[node(sparse_tensors=[sparse(values=False)])]),
    "branch": graph(node=[node(g=graph(initializer=[outside()]))]),
    "branches": graph(node=[node(graphs=[graph(node=[node(g=graph(initializer=[outside()]))])])]),
}


@pytest.mark.parametrize("name", IN_A_GRAPH)
def test_external_data_in_a_graph(name):
    model = tiny_model()
    check_onnx(model.SerializeToString())
    model.graph.MergeFrom(IN_A_GRAPH[name])
    with pytest.raises(OnnxFormatError, match=r"^has external data: .* Expected a model with all"):
        check_onnx(model.SerializeToString())


def function(**fields) -> dict:
    return {"functions": [onnx.FunctionProto(name="f", **fields)]}


@pytest.mark.parametrize(
    "fields",
    [
        function(node=[node(t=outside())]),
        function(attribute_proto=[attribute(t=outside())]),
        {"training_info": [onnx.TrainingInfoProto(initialization=IN_A_GRAPH["initializer"])]},
        {"training_info": [onnx.TrainingInfoProto(algorithm=IN_A_GRAPH["branch"])]},
    ],
)
def test_external_data_beside_the_graph(fields):
    model = tiny_model()
    model.MergeFrom(onnx.ModelProto(**fields))
    with pytest.raises(OnnxFormatError, match=r"^has external data"):
        check_onnx(model.SerializeToString())


def test_external_data_in_a_second_part_of_a_message():
    """Protobuf merges the parts of a message that occurs more than once."""
    more = onnx.ModelProto(graph=IN_A_GRAPH["initializer"]).SerializeToString()
    for content in (TINY + more, more + TINY):
        with pytest.raises(OnnxFormatError, match=r"^has external data"):
            check_onnx(content)


def test_a_location_in_more_bytes_than_it_needs():
    tensor = b"\x70\x81\x80\x00"  # field 14, 1 as a varint of three bytes
    content = b"\x3a" + bytes([len(tensor) + 2]) + b"\x2a" + bytes([len(tensor)]) + tensor
    assert onnx.load_from_string(content).graph.initializer[0].data_location == 1
    with pytest.raises(OnnxFormatError, match=r"^has external data"):
        check_onnx(content)


def test_quantised_weights_are_found():
    assert not check_onnx(TINY)
    assert check_onnx(tiny_int8_model(64).SerializeToString())
    constant = helper.make_tensor("codes", TensorProto.INT8, [1], [1])
    model = tiny_model()
    model.graph.node.append(helper.make_node("Constant", [], ["codes"], value=constant))
    assert check_onnx(model.SerializeToString())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no valid ONNX: it has no graph"),
        (b"\x08\x0a", "no valid ONNX: it has no graph"),
        (b"\x3a\x7f", "no valid ONNX: it is truncated or damaged"),
        (b"\x3a" + b"\xff" * 11, "no valid ONNX: it is truncated or damaged"),
        (b"<?xml", "no valid ONNX: wire type 4"),
        (b"\x1c\0\0\0ORTM", "of ONNX Runtime's own format"),
        (b"\x0a\x02\x08\x01", "no valid ONNX: it has no graph"),  # a GraphDef of TensorFlow
    ],
)
def test_other_files(content, message):
    with pytest.raises(OnnxFormatError, match=message):
        check_onnx(content)


def test_depth_is_limited():
    content = b""
    for number in [6, 5, 1] * 40:  # graph of an attribute, of a node, of a graph
        content = _field(number, content)
    with pytest.raises(OnnxFormatError, match="nested over 100 deep"):
        check_onnx(_field(7, content))


def _field(number: int, content: bytes) -> bytes:
    length = len(content)
    size = bytes([length]) if length < 128 else bytes([length & 0x7F | 0x80, length >> 7])
    return bytes([number << 3 | 2]) + size + content


@given(st.data())
def test_damaged_files_are_read_or_refused(data):
    """What is accepted has no external data in the eyes of protobuf's own parser either."""
    content = bytearray(TINY)
    for at in data.draw(st.lists(st.integers(0, len(TINY) - 1), max_size=4)):
        content[at] = data.draw(st.integers(0, 255))
    damaged = bytes(content[: data.draw(st.integers(0, len(TINY)) | st.just(len(TINY)))])
    try:
        check_onnx(damaged)
    except OnnxFormatError:
        return
    try:
        tensors = onnx.load_from_string(damaged).graph.initializer
    except Exception:  # text that is not UTF-8, which runtimes refuse
        return
    assert all(tensor.data_location != TensorProto.EXTERNAL for tensor in tensors)
