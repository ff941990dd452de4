"""The file config.pbtxt of a model: protobuf's text format, by model_config.proto of Triton."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onnx import TensorProto

from engine.backends.base import INPUTS, OUTPUT
from export.triton.graphs import IMAGE, START, State

_TYPES: dict[int, str] = {
    TensorProto.UINT8: "TYPE_UINT8",
    TensorProto.INT64: "TYPE_INT64",
    TensorProto.FLOAT16: "TYPE_FP16",
    TensorProto.FLOAT: "TYPE_FP32",
}


class Word(str):
    """A constant of an enum, which has no quotes."""


@dataclass(frozen=True)
class Serving:
    """How Triton serves the models.

    Attributes:
        backend: of Triton.
        file: name of the model's file.
        max_batch: most pairs in a batch; 0: Triton makes no batches, only a client may.
        window: microseconds that a pair waits for others.
        sizes: (height, width) of images to warm up with.
        sequences: most sequences that are served in turn; others wait.
        idle: seconds without a frame after which a sequence is closed.
    """

    backend: str
    file: str
    max_batch: int
    window: int
    sizes: Sequence[tuple[int, int]]
    sequences: int
    idle: float


def pair_config(serving: Serving) -> str:
    """Return the configuration of ``flow_pair``."""
    fields = _common("flow_pair", INPUTS, serving, serving.max_batch)
    if serving.max_batch:
        fields["dynamic_batching"] = {"max_queue_delay_microseconds": serving.window}
    one = [] if serving.max_batch else [1]
    fields["model_warmup"] = [
        {
            "name": f"{batch}x{height}x{width}",
            "batch_size": batch,
            "inputs": [_zeros(name, "TYPE_UINT8", (*one, height, width, 3)) for name in INPUTS],
        }
        for height, width in serving.sizes
        for batch in sorted({1, max(1, serving.max_batch)})
    ]
    return text_of(fields)


def stream_config(serving: Serving, states: Sequence[State]) -> str:
    """Return the configuration of ``flow_stream``.

    Frames of different sequences may differ in size, so that no two of them are in one batch.
    Triton warms up without a sequence, and so without state: there is nothing to warm up with.
    """
    fields = _common("flow_stream", (IMAGE,), serving, 1)
    start = {"kind": Word("CONTROL_SEQUENCE_START"), "bool_false_true": [False, True]}
    fields["sequence_batching"] = {
        "max_sequence_idle_microseconds": round(1e6 * serving.idle),
        "oldest": {"max_candidate_sequences": serving.sequences},
        "control_input": [{"name": START, "control": [start]}],
        "state": [
            {
                "input_name": f"previous_{state.name}",
                "output_name": f"current_{state.name}",
                "data_type": Word(_TYPES[state.kind]),
                "dims": list(state.shape),
            }
            for state in states
        ],
    }
    return text_of(fields)


def text_of(fields: Mapping[str, Any], indent: str = "") -> str:
    """Return a message in protobuf's text format.

    Args:
        fields: values are numbers, texts, `Word`, mappings (messages), and lists of these.
        indent: of its lines.
    """
    lines = []
    for name, value in fields.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, Mapping):
                lines.append(f"{indent}{name} {{\n{text_of(item, indent + '  ')}{indent}}}\n")
            else:
                text = item if isinstance(item, Word) else json.dumps(item)
                lines.append(f"{indent}{name}: {text}\n")
    return "".join(lines)


def _common(name: str, images: Sequence[str], serving: Serving, batch: int) -> dict[str, Any]:
    sides = [-1, -1] if batch else [-1, -1, -1]
    inputs = [
        {"name": image, "data_type": Word("TYPE_UINT8"), "dims": [*sides, 3]} for image in images
    ]
    return {
        "name": name,
        "backend": serving.backend,
        "default_model_filename": serving.file,
        "max_batch_size": batch,
        "input": inputs,
        "output": [{"name": OUTPUT, "data_type": Word("TYPE_FP32"), "dims": [*sides, 2]}],
        "instance_group": [{"count": 1, "kind": Word("KIND_AUTO")}],
    }


def _zeros(name: str, kind: str, shape: Sequence[int]) -> dict[str, Any]:
    value = {"data_type": Word(kind), "dims": list(shape), "zero_data": True}
    return {"key": name, "value": value}
