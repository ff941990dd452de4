"""The graphs that Triton runs: a bundle's network, with padding and cropping around it.

Clients send images of any size. `FlowEngine` pads and crops on the host instead, which no client of
a model server does. In a sequence, Triton keeps what the network needs of the last frame:
https://github.com/triton-inference-server/server/blob/main/docs/user_guide/implicit_state_management.md
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from engine.backends.base import INPUTS, OUTPUT
from engine.backends.onnx_graphs import FEATURES, MATCH, WHOLE
from engine.bundle.manifest import Manifest
from export.triton.assembly import Assembly

IMAGE, START = "image", "START"
_SIZE = "size"  # height and width of the images
_IMAGE_SHAPE = ("N", "height", "width", 3)


@dataclass(frozen=True)
class State:
    """What Triton keeps of a frame: the output ``current_...`` is the next ``previous_...``.

    Attributes:
        name: of the tensor.
        kind: type of its values, of ``onnx.TensorProto``.
        shape: without the batch; -1 where it depends on the frame.
    """

    name: str
    kind: int
    shape: tuple[int, ...]


class Network:
    """The ONNX of a bundle: one graph, or features and match."""

    def __init__(self, models: Mapping[str, onnx.ModelProto], manifest: Manifest) -> None:
        """Use the models of a bundle, by file name."""
        self._models, self._manifest = models, manifest
        self.assembly = Assembly(next(iter(models.values())))

    def states(self) -> list[State]:
        """Return what is kept of a frame."""
        if WHOLE in self._models:
            return [State(IMAGE, TensorProto.UINT8, (-1, -1, 3))]
        kept = [State(_SIZE, TensorProto.INT64, (2,))]
        for value in self._models[FEATURES].graph.output:
            tensor = value.type.tensor_type
            shape = tuple(side.dim_value or -1 for side in tensor.shape.dim[1:])
            kept.append(State(value.name, tensor.elem_type, shape))
        return kept

    def measured(self, image: str) -> str:
        """Compute height and width of an image, INT64 [2], and how much to pad it."""
        add, constant = self.assembly.add, self.assembly.constant
        add("Shape", [image], _SIZE, start=1, end=3)
        least = constant("smallest", [self._manifest.smallest])
        divisor = constant("divisor", [self._manifest.divisor])
        up = constant("divisor_minus_1", [self._manifest.divisor - 1])
        add("Max", [_SIZE, least], "size_at_least")
        add("Div", [add("Add", ["size_at_least", up], "size_and_more"), divisor], "blocks")
        add("Sub", [add("Mul", ["blocks", divisor], "padded_size"), _SIZE], "padding")
        ends = constant("no_pads_before", [0] * 5), "padding", constant("no_pads_after", [0])
        return add("Concat", ends, "pads", axis=0)

    def prepared(self, image: str, pads: str) -> dict[str, str]:
        """Compute what is kept of a frame; return the tensors by the names of `states`."""
        if WHOLE in self._models:
            return {IMAGE: image}
        padded = self._padded(image, pads)
        outputs = self.assembly.embed(
            self._models[FEATURES], f"{image}_", {IMAGE: padded}, "features_"
        )
        row = self.assembly.constant("first_axis", [0])
        return outputs | {_SIZE: self.assembly.add("Unsqueeze", [_SIZE, row], f"{image}_size")}

    def flow(
        self, first: dict[str, str], second: dict[str, str], pads: str, size: str, output: str
    ) -> str:
        """Compute the flow from one frame to another, of `prepared` both, cropped to a size."""
        if WHOLE in self._models:
            images = (self._padded(kept[IMAGE], pads) for kept in (first, second))
            inputs = dict(zip(INPUTS, images, strict=True))
            outputs = self.assembly.embed(self._models[WHOLE], "network_", inputs)
        else:
            features = {"features1": first["features"], "features2": second["features"]}
            outputs = self.assembly.embed(
                self._models[MATCH], "match_", {"skip": first["skip"], **features}
            )
        zeros = self.assembly.constant("corner", [0, 0])
        axes = self.assembly.constant("rows_and_columns", [1, 2])
        return self.assembly.add("Slice", [outputs[OUTPUT], zeros, size, axes], output)

    def _padded(self, image: str, pads: str) -> str:
        return self.assembly.add("Pad", [image, pads], f"padded_{image}", mode="edge")


def pair_graph(network: Network) -> onnx.ModelProto:
    """Return the graph from two images, (N, H, W, 3) uint8, to their flow, (N, H, W, 2)."""
    pads = network.measured(INPUTS[0])
    first, second = (network.prepared(image, pads) for image in INPUTS)
    # Not by an Identity: OpenVINO's output would have two names, and Triton take one of them.
    network.flow(first, second, pads, _SIZE, OUTPUT)
    images = [
        helper.make_tensor_value_info(name, TensorProto.UINT8, _IMAGE_SHAPE) for name in INPUTS
    ]
    return network.assembly.model(images, [_flow()])


def stream_graph(network: Network) -> onnx.ModelProto:
    """Return the graph from a frame, and what is kept of the last one, to their flow.

    Inputs: ``image`` (N, H, W, 3) uint8; ``START`` (N, 1) bool, whether a sequence begins here; a
    ``previous_...`` for each state, of any shape where a sequence begins. The flow is zero there.
    """
    add = network.assembly.add
    pads = network.measured(IMAGE)
    current = network.prepared(IMAGE, pads)
    start = add("Reshape", [START, network.assembly.constant("per_image", [-1, 1, 1, 1])], "start")
    last = {}
    for state in network.states():
        condition = start if len(state.shape) == 3 else START
        # Where a sequence begins, `previous` has one pixel.
        chosen = [condition, current[state.name], f"previous_{state.name}"]
        last[state.name] = add("Where", chosen, f"last_{state.name}")
        add("Identity", [current[state.name]], f"current_{state.name}")
    size = _SIZE
    if _SIZE in last:  # fails below if the last frame had another size
        size = add("Reshape", [last[_SIZE], network.assembly.constant("flat", [-1])], "last_extent")
    flow = network.flow(last, current, pads, size, "cropped")
    frames = add("Shape", [IMAGE], "frames", end=3)
    shape = add("Concat", [frames, network.assembly.constant("xy", [2])], "flow_shape", axis=0)
    zero = network.assembly.constant("zero", 0, np.float32)
    add("Where", [start, add("Expand", [zero, shape], "no_flow"), flow], OUTPUT)
    inputs = [
        helper.make_tensor_value_info(IMAGE, TensorProto.UINT8, _IMAGE_SHAPE),
        helper.make_tensor_value_info(START, TensorProto.BOOL, ("N", 1)),
        *(_state(f"previous_{state.name}", state) for state in network.states()),
    ]
    outputs = [_flow(), *(_state(f"current_{state.name}", state) for state in network.states())]
    return network.assembly.model(inputs, outputs)


def _flow() -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, (*_IMAGE_SHAPE[:3], 2))


def _state(name: str, state: State) -> onnx.ValueInfoProto:
    sides = [f"{name}_{axis}" if side < 0 else side for axis, side in enumerate(state.shape)]
    return helper.make_tensor_value_info(name, state.kind, ("N", *sides))
