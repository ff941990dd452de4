"""Which network a file is of, and in whose layout: by the names and shapes of its tensors."""

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from training.checkpoints.files import Contents
from training.checkpoints.folding import in_other_pixels
from training.checkpoints.layout import Layout, Origin, Origins, Shape, Shapes
from training.checkpoints.mmflow import MMFLOW, MMFLOW_RAFT
from training.checkpoints.nvidia import NVIDIA
from training.checkpoints.own import is_own, own_layout
from training.checkpoints.pinard import PINARD, PINARD_BN
from training.checkpoints.princeton import PRINCETON
from training.checkpoints.ptlflow import PTLFLOW, PTLFLOW_RAFT
from training.checkpoints.torchvision import TORCHVISION
from training.networks.registry import NETWORKS, network_without_weights

LAYOUTS = (NVIDIA, PINARD, PINARD_BN, PRINCETON, TORCHVISION, MMFLOW, MMFLOW_RAFT)
LIGHTNING_LAYOUTS = (PTLFLOW, PTLFLOW_RAFT)
# A file that shares fewer of a network's names is of another network.
_FEWEST_SHARED = 0.5
# PyTorch before 0.4.1 did not count batches, and nothing reads the count.
_UNNEEDED = "num_batches_tracked"


@dataclass(frozen=True)
class Match:
    """A file compared with a network in a layout; names are those of the file.

    Attributes:
        layout: the layout.
        network: name in the registry.
        origins: how each tensor of the network is made.
        missing: names that the file should have.
        left_over: names that the network has no place for.
        wrong: name -> what the file has and what was expected.
        ignored: names of tensors that are not needed.
        shared: how many of the expected names the file has.
        expected: number of the expected names.
    """

    layout: Layout
    network: str
    origins: Origins
    missing: tuple[str, ...]
    left_over: tuple[str, ...]
    wrong: Mapping[str, tuple[str, str]]
    ignored: tuple[str, ...]
    shared: int
    expected: int

    @property
    def is_known(self) -> bool:
        """Whether the file is of this network, perhaps damaged."""
        return self.shared >= _FEWEST_SHARED * self.expected

    @property
    def _score(self) -> int:
        return self.shared - len(self.missing) - len(self.left_over) - 2 * len(self.wrong)


def recognise(contents: Contents) -> Match:
    """Return the network and layout that a file fits best; `Match.is_known` judges it.

    Raises:
        ValueError: the header of this project's file names an unknown network.
    """
    layouts: Sequence[Layout] = LIGHTNING_LAYOUTS if contents.lightning else LAYOUTS
    if is_own(contents):
        layouts = (own_layout(contents.facts),)
    matches = [
        _match(contents.tensors, layout, network)
        for layout in layouts
        for network in layout.networks
        if network in NETWORKS
    ]
    if not matches:
        raise ValueError(
            f"its header names the network {contents.facts['network']!r}; "
            f"expected one of {', '.join(NETWORKS)}"
        )
    return _in_pixels(max(matches, key=lambda match: match._score), contents.facts)


def _in_pixels(match: Match, facts: Mapping[str, object]) -> Match:
    """Adapt a network that was trained on another unit; FlowNetPytorch stores it in the file."""
    found = facts.get("div_flow")
    expected = network_without_weights(match.network).flow_scale
    in_pixels = expected == 1  # whatever the file says of the networks inside
    if not isinstance(found, int | float) or found <= 0 or found == expected or in_pixels:
        return match
    return replace(match, origins=in_other_pixels(match.origins, found, expected))


@functools.cache
def shapes_of(network: str) -> Shapes:
    """Return the shapes of a network's tensors, without making any."""
    state = network_without_weights(network).state_dict()
    return {name: tuple(value.shape) for name, value in state.items()}


def _match(tensors: Mapping[str, Tensor], layout: Layout, network: str) -> Match:
    origins = layout.origins(network, shapes_of(network))
    expected = {
        name: shape for origin in origins.values() for name, shape in origin.tensors.items()
    }
    unnecessary = {name for name in expected.keys() - tensors.keys() if name.endswith(_UNNEEDED)}
    present = {*tensors, *unnecessary}
    extra = [name for name in tensors if name not in expected]
    ignored = [name for name in extra if any(re.fullmatch(p, name) for p in layout.ignored)]
    return Match(
        layout=layout,
        network=network,
        origins={name: _count(origin, unnecessary) for name, origin in origins.items()},
        missing=tuple(name for name in expected if name not in present),
        left_over=tuple(name for name in extra if name not in ignored),
        wrong={
            name: (_described(tensors[name]), _text(shape))
            for name, shape in expected.items()
            if name in tensors and not _fits(name, tensors[name], shape)
        },
        ignored=tuple(ignored),
        shared=len(expected.keys() & tensors.keys()),
        expected=len(expected),
    )


def _count(origin: Origin, unnecessary: set[str]) -> Origin:
    if unnecessary.isdisjoint(origin.tensors):
        return origin
    return Origin({}, lambda: torch.zeros((), dtype=torch.int64), "counts of batches: zero")


def _fits(name: str, tensor: Tensor, shape: Shape) -> bool:
    return tuple(tensor.shape) == shape and (tensor.is_floating_point() or name.endswith(_UNNEEDED))


def _described(tensor: Tensor) -> str:
    kind = "" if tensor.is_floating_point() else f" {tensor.dtype}".replace("torch.", "")
    return _text(tensor.shape) + kind


def _text(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "a number"
