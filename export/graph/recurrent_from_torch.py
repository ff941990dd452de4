"""A `RecurrentNetwork` as ONNX, whole or in two graphs."""

from collections.abc import Callable, Mapping
from typing import cast

import onnx
from torch import Tensor, nn

from engine.backends.onnx_graphs import COARSE_FLOW, INITIAL_FLOW
from export.graph.deployable import planes
from export.graph.recurrent import OnnxParts, looped
from export.graph.torch_export import example, export
from training.networks.entry import FLOW, IMAGE, IMAGES, Port, Recurrence, map_port
from training.networks.layers import RecurrentNetwork, RecurrentParts

_NEXT = "next_"


class _FromImages(nn.Module):
    """From two images to the initial state, without motion, and the updates' constants."""

    def __init__(self, parts: RecurrentParts, normalisation: nn.Module) -> None:
        super().__init__()
        self.features, self.start = _Features(parts, normalisation), parts.start

    def forward(self, image1: Tensor, image2: Tensor) -> tuple[Tensor, ...]:
        """Return hidden state, flow and constants for two uint8 images (N, H, W, 3)."""
        skip, first = self.features.planes_of(image1)
        _, second = self.features.planes_of(image2)
        hidden, *constants = self.start(skip, first, second)
        return hidden, hidden.new_zeros((*hidden.shape[:3], 2)).float(), *constants


class _Features(nn.Module):
    """From one uint8 image (N, H, W, 3) to skip and features, (N, h, w, C)."""

    def __init__(self, parts: RecurrentParts, normalisation: nn.Module) -> None:
        super().__init__()
        self.features, self.normalisation = parts.features, normalisation
        self._dtype = next(parts.features.parameters()).dtype

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        skip, features = self.planes_of(image)
        return skip.permute(0, 2, 3, 1), features.permute(0, 2, 3, 1)

    def planes_of(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return skip and features as (N, C, h, w)."""
        normalise = cast(Callable[[Tensor], Tensor], self.normalisation.alone)
        skip, features = self.features(normalise(planes(image)).to(self._dtype))
        return skip, features


class _FromFeatures(nn.Module):
    """From features, channels last, to the hidden state and the updates' constants."""

    def __init__(self, start: nn.Module) -> None:
        super().__init__()
        self.start = start

    def forward(self, skip: Tensor, features1: Tensor, features2: Tensor) -> tuple[Tensor, ...]:
        maps = (x.permute(0, 3, 1, 2) for x in (skip, features1, features2))
        return tuple(self.start(*maps))


def recurrent_from_torch(
    network: RecurrentNetwork,
    normalisation: nn.Module,
    recurrence: Recurrence,
    *,
    lookup: str,
    split: bool,
    metadata: Mapping[str, str],
) -> tuple[onnx.ModelProto, ...]:
    """Export a recurrent network with dynamic batch, height and width, its updates a Loop.

    Args:
        network: the network, float32 or float16, on the CPU.
        normalisation: one with a method ``alone`` for a single image.
        recurrence: the tensors between its parts.
        lookup: a key of ``recurrence.constants``.
        split: whether to export two graphs.
        metadata: written into the files' ``metadata_props``.

    Returns:
        One checked model, as `onnx_from_torch`; or two as `two_graphs_from_torch`, of which the
        second has an input `INITIAL_FLOW` and an output `COARSE_FLOW`, (batch, h, w, 2) float32 in
        pixels of the features.
    """
    parts, divisor = network.parts(lookup), network.divisor
    hidden, flow = recurrence.state
    constants = recurrence.constants[lookup]
    # Sides whose halves, quarters and eighths differ, and from the channels.
    images = example(17 * divisor, 23 * divisor, 64), example(17 * divisor, 23 * divisor, 192)
    features = _sized(_Features(parts, normalisation), network)
    whole = _sized(_FromImages(parts, normalisation), network)
    state, motion, *values = (value.detach().clone() for value in whole(*images))
    motion = motion.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    models: tuple[onnx.ModelProto, ...] = ()
    if split:
        skip, maps = map_port("skip", recurrence.stride), map_port("features", recurrence.stride)
        models = (export(features, {IMAGE[0]: images[0]}, (skip, maps)),)
        first = [value.detach() for value in features(images[0])]
        pair = [map_port(f"features{index}", recurrence.stride) for index in (1, 2)]
        inputs = dict(zip((skip, *pair), (*first, first[1].clone()), strict=True))
        start = export(_sized(_FromFeatures(parts.start), network), inputs, (hidden, *constants))
    else:
        outputs = (hidden, Port(INITIAL_FLOW, flow.axes), *constants)
        start = export(whole, dict(zip(IMAGES, images, strict=True)), outputs)
    states = dict(zip((hidden, flow), (state, motion), strict=True))
    reads = states | dict(zip(constants, values, strict=True))
    following = [Port(_NEXT + port.name, port.axes) for port in (hidden, flow)]
    assembled = looped(
        OnnxParts(
            start,
            update=export(_sized(parts.update, network), reads, following),
            finish=export(_sized(parts.finish, network), states, FLOW),
            state=(hidden.name, flow.name),
            initial=(hidden.name, INITIAL_FLOW),
            last=("last_hidden", COARSE_FLOW),
        ),
        network.iterations,
    )
    if split:
        coarse = onnx.helper.make_tensor_value_info(
            COARSE_FLOW, onnx.TensorProto.FLOAT, [*flow.axes[:3], 2]
        )
        assembled.graph.output.append(coarse)
    models = (*models, assembled)
    for model in models:
        onnx.helper.set_model_props(model, dict(metadata))
    return models


def _sized(part: nn.Module, network: RecurrentNetwork) -> nn.Module:
    """Tell the exporter which sizes the images have."""
    part.divisor, part.smallest = network.divisor, network.smallest  # type: ignore[assignment]
    return part.eval()
