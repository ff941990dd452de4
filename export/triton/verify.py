"""Run what was written, and compare its flow with the bundle's own."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import helper

import engine
from engine.backends.base import INPUTS, OUTPUT
from engine.backends.openvino.runtime import core_of, import_openvino
from engine.images.layout import padded_size
from export.triton.graphs import IMAGE, START, State
from export.verify.noise import noise
from export.verify.parity import VerificationError

# Mean and largest distance. The same arithmetic in another order; RAFT repeats it many times. Of an
# int8 bundle ONNX Runtime still rounds some activations, which the written model does not.
_LIMITS_PX = {"fp32": (0.002, 0.2), "fp16": (0.02, 2), "int8": (0.1, np.inf)}
_MARGIN = 3  # rows and columns that the second size lacks to a multiple of any divisor

Arrays = dict[str, np.ndarray]


class Model:
    """A written model in the runtime that Triton's backend uses, without the options of ours."""

    def __init__(self, backend: str, path: Path) -> None:
        """Load it.

        Args:
            backend: ``onnxruntime`` or ``openvino``.
            path: the ONNX file.
        """
        if backend == "openvino":
            openvino = import_openvino()
            hints = {"INFERENCE_PRECISION_HINT": "f32"}
            compiled = core_of(openvino).compile_model(str(path), "CPU", hints)
            self._run = lambda inputs: {
                key.get_any_name(): value for key, value in compiled(inputs).items()
            }
        else:
            import onnxruntime

            session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
            names = [output.name for output in session.get_outputs()]
            self._run = lambda inputs: dict(zip(names, session.run(names, inputs), strict=True))

    def __call__(self, inputs: Arrays) -> Arrays:
        """Return the outputs by name."""
        result: Arrays = self._run(inputs)
        return result


def sequence(model: Any, states: Sequence[State], frames: Sequence[np.ndarray]) -> Iterator[Arrays]:
    """Run ``flow_stream`` on the frames of one sequence, as Triton's sequence batcher does.

    Where a sequence begins, START is true and the state is not initialised: variable sides of it
    are 1. Afterwards it is what the model returned (``SequenceStates::Initialize`` and
    ``OutputState`` in triton-inference-server/core, ``src/sequence_state.cc``).

    Args:
        model: takes and returns arrays by name.
        states: of the model.
        frames: (H, W, 3) uint8.
    """
    kept = {}
    for state in states:
        shape = [1, *(1 if side < 0 else side for side in state.shape)]
        kind = helper.tensor_dtype_to_np_dtype(state.kind)
        kept[f"previous_{state.name}"] = np.full(shape, 77, kind)
    for index, frame in enumerate(frames):
        start = {START: np.array([[index == 0]])}
        outputs = model({IMAGE: frame[np.newaxis], **start, **kept})
        yield outputs
        kept = {f"previous_{state.name}": outputs[f"current_{state.name}"] for state in states}


def verify_pair(model: Model, flow_engine: engine.FlowEngine, batch: int) -> str:
    """Compare ``flow_pair`` with the engine; return the differences in words.

    Raises:
        VerificationError: They are too large.
    """
    differences = []
    for seed, size in enumerate(_sizes(flow_engine)):
        pair = noise(batch if seed else 1, *size, seed=seed)
        images = (pair.image1, pair.image2)
        found = model(dict(zip(INPUTS, images, strict=True)))[OUTPUT]
        differences.append(found - flow_engine.infer(*images))
    return _checked("flow_pair", differences, flow_engine.manifest.precision)


def verify_stream(model: Model, states: Sequence[State], flow_engine: engine.FlowEngine) -> str:
    """Compare ``flow_stream`` with the engine; return the differences in words.

    Raises:
        VerificationError: They are too large, or the flow of the first frame is not zero.
    """
    differences = []
    for seed, size in enumerate(_sizes(flow_engine)):
        pair = noise(1, *size, seed=seed)
        frames = [pair.image1[0], pair.image2[0], pair.image1[0]]
        first, *found = (outputs[OUTPUT][0] for outputs in sequence(model, states, frames))
        wanted = flow_engine.stream(frames)
        differences += [first, *(a - b for a, b in zip(found, wanted, strict=True))]
    return _checked("flow_stream", differences, flow_engine.manifest.precision)


def _sizes(flow_engine: engine.FlowEngine) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return a size that the network takes as it is, and one that has to be padded."""
    divisor, smallest = flow_engine.manifest.divisor, flow_engine.manifest.smallest
    height, width = padded_size(1, divisor + 1, divisor, smallest)
    return (height, width), (height - _MARGIN, width - _MARGIN - 2)


def _checked(name: str, differences: Sequence[np.ndarray], precision: str) -> str:
    lengths = np.concatenate([np.hypot(each[..., 0], each[..., 1]).ravel() for each in differences])
    mean, largest = float(lengths.mean()), float(lengths.max())
    text = f"differs by {mean:.1e} px on average, {largest:.1e} px at most"
    limit_mean, limit_largest = _LIMITS_PX[precision]
    if not (mean <= limit_mean and largest <= limit_largest):  # also of NaN
        raise VerificationError(
            [f"{name} {text}, from the bundle's flow; expected {limit_mean} and {limit_largest} px"]
        )
    return text
