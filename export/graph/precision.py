"""Precision written into the graph."""

import copy
from collections.abc import Callable
from typing import cast

from torch import Tensor, nn


class _InFloat(nn.Module):
    """Computes a module in float32 and hands float32 on."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module.float()

    def forward(self, *inputs: Tensor) -> Tensor:
        return cast(Tensor, self.module(*(x.float() for x in inputs)))


class HalfNetwork(nn.Module):
    """A copy of a network that computes in float16 between explicit casts.

    Runtimes need no precision flag for a graph traced from it (TensorRT 11 has none).

    Args:
        network: the fp32 network; left as it is.
        fp32_islands: names of the submodules that compute in float32. Their outputs stay float32,
            so what follows an island inside the network must be one too.
    """

    def __init__(self, network: nn.Module, *, fp32_islands: tuple[str, ...]) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).half()
        for name in fp32_islands:
            original = copy.deepcopy(network.get_submodule(name))
            self.network.set_submodule(name, _InFloat(original))
        self.divisor = network.divisor
        self.smallest = network.smallest
        self.flow_scale = network.flow_scale
        self.output_stride = network.output_stride
        self.interpolation = network.interpolation
        self.reads_quartered = network.reads_quartered

    def forward(self, image1: Tensor, image2: Tensor) -> tuple[Tensor, ...]:
        """Like the network's own: float32 in, float32 out."""
        return _in_float(self.network(image1.half(), image2.half()))

    def features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Like a `SiameseNetwork`'s own: float32 in, float16 out."""
        features = cast(Callable[[Tensor], tuple[Tensor, Tensor]], self.network.features)
        return features(image.half())

    def match(self, skip: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, ...]:
        """Like a `SiameseNetwork`'s own: float16 in, float32 out."""
        match = cast(Callable[..., tuple[Tensor, ...]], self.network.match)
        return _in_float(match(skip, first, second))

    def of_quartered(self, quartered: Tensor) -> tuple[Tensor, ...]:
        """Like a `CoarseToFineFlowNetS`'s own: float32 in, float32 out."""
        of_quartered = cast(Callable[..., tuple[Tensor, ...]], self.network.of_quartered)
        return _in_float(of_quartered(quartered.half()))

    def sizes(self, quartered: Tensor) -> list[Tensor]:
        """Like a `CoarseToFineFlowNetS`'s own: float32 in, float16 out."""
        sizes = cast(Callable[..., list[Tensor]], self.network.sizes)
        return sizes(quartered.half())

    def one_pass(self, halved: Tensor, so_far: Tensor) -> tuple[Tensor, ...]:
        """Like a `CoarseToFineFlowNetS`'s own: float16 images, float32 flows."""
        one_pass = cast(Callable[..., tuple[Tensor, ...]], self.network.one_pass)
        return _in_float(one_pass(halved, so_far))


def _in_float(flows: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(flow.float() for flow in flows)
