"""Statistics of what enters each convolution, recorded while a network runs."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from training.int8.ranges import ActivationStatistics, sampling_step


def convolutions(network: nn.Module) -> dict[str, nn.Module]:
    """Return all convolutions by layer: itself, or the Sequential that it is the first of."""
    return {
        name.removesuffix(".0"): module
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    }


@contextmanager
def recorded_inputs(network: nn.Module, record: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Call ``record`` with layer and input of each convolution, before any rounding."""
    with ExitStack() as hooks:
        for name, layer in convolutions(network).items():

            def hook(_: nn.Module, inputs: tuple[Any, ...], name: str = name) -> None:
                record(name, inputs[0])

            hooks.callback(layer.register_forward_pre_hook(hook, prepend=True).remove)
        yield


@contextmanager
def observed_inputs(
    network: nn.Module, samples: int
) -> Iterator[dict[str, list[ActivationStatistics]]]:
    """Observe the inputs of all convolutions while the network runs.

    Args:
        network: the network.
        samples: values to keep of each input.

    Yields:
        By layer, the statistics of each of its inputs so far; a siamese layer has one for each
        image.
    """
    seen: dict[str, list[ActivationStatistics]] = defaultdict(list)

    def record(name: str, values: Tensor) -> None:
        flat = values.detach().float().transpose(0, 1).flatten(1)
        sample = flat[:, :: sampling_step(flat.numel(), samples, values.shape[-1])]
        largest = flat.abs().amax(1)
        # A view would keep the whole input.
        seen[name].append(ActivationStatistics(sample.cpu().numpy().copy(), largest.cpu().numpy()))

    with recorded_inputs(network, record):
        yield seen
