"""config.pbtxt, read by Triton's own protobuf definition, which tritonclient contains."""

import importlib.util
import string
from pathlib import Path

import pytest
import tritonclient
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto

from export.triton.config import Serving, Word, pair_config, stream_config, text_of
from export.triton.graphs import State


def definition():
    """Return ``model_config_pb2``; the package around it needs grpcio, which no test does."""
    path = Path(tritonclient.__file__).parent / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PROTO = definition()


def parsed(text):
    """Return a configuration; unknown fields and wrong types are errors."""
    return text_format.Parse(text, PROTO.ModelConfig())


def serving(**changes):
    fields = {
        "backend": "onnxruntime",
        "file": "model.onnx",
        "max_batch": 4,
        "window": 1500,
        "sizes": [(384, 512), (64, 96)],
        "sequences": 9,
        "idle": 2.5,
    }
    return Serving(**(fields | changes))


def test_pair():
    config = parsed(pair_config(serving()))
    assert (config.name, config.backend, config.max_batch_size) == ("flow_pair", "onnxruntime", 4)
    assert config.default_model_filename == "model.onnx"
    tensors = [
        (each.name, each.data_type, [*each.dims]) for each in (*config.input, *config.output)
    ]
    assert tensors == [
        ("image1", PROTO.TYPE_UINT8, [-1, -1, 3]),
        ("image2", PROTO.TYPE_UINT8, [-1, -1, 3]),
        ("flow", PROTO.TYPE_FP32, [-1, -1, 2]),
    ]
    assert config.dynamic_batching.max_queue_delay_microseconds == 1500
    assert [(each.batch_size, *each.inputs["image2"].dims) for each in config.model_warmup] == [
        (1, 384, 512, 3),
        (4, 384, 512, 3),
        (1, 64, 96, 3),
        (4, 64, 96, 3),
    ]
    assert all(each.inputs["image1"].zero_data for each in config.model_warmup)
    assert not config.parameters


def test_without_batches():
    config = parsed(pair_config(serving(backend="openvino", max_batch=0)))
    assert config.max_batch_size == 0
    assert not config.HasField("dynamic_batching")
    assert [*config.input[1].dims] == [-1, -1, -1, 3]
    assert [*config.output[0].dims] == [-1, -1, -1, 2]
    assert [(each.batch_size, *each.inputs["image1"].dims) for each in config.model_warmup] == [
        (1, 1, 384, 512, 3),
        (1, 1, 64, 96, 3),
    ]


def test_stream():
    states = [
        State("size", TensorProto.INT64, (2,)),
        State("skip", TensorProto.FLOAT16, (3, -1, -1)),
    ]
    config = parsed(stream_config(serving(), states))
    assert (config.name, config.max_batch_size) == ("flow_stream", 1)
    batching = config.sequence_batching
    assert batching.max_sequence_idle_microseconds == 2_500_000
    assert batching.oldest.max_candidate_sequences == 9
    (control,) = batching.control_input
    assert control.name == "START"
    assert control.control[0].kind == PROTO.ModelSequenceBatching.Control.CONTROL_SEQUENCE_START
    assert [*control.control[0].bool_false_true] == [False, True]
    assert [
        (each.input_name, each.output_name, each.data_type, [*each.dims]) for each in batching.state
    ] == [
        ("previous_size", "current_size", PROTO.TYPE_INT64, [2]),
        ("previous_skip", "current_skip", PROTO.TYPE_FP16, [3, -1, -1]),
    ]
    assert not config.model_warmup


@given(st.text(string.printable, max_size=20))
def test_any_text(name):
    assert parsed(text_of({"name": name})).name == name


def test_an_unknown_field_would_be_found():
    with pytest.raises(text_format.ParseError):
        parsed(text_of({"nmae": "x"}))
    with pytest.raises(text_format.ParseError):
        parsed(text_of({"input": {"data_type": Word("TYPE_BYTE")}}))
