"""Which network a file is of, and in whose layout: by the names and shapes of its tensors."""

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from training.checkpoints.facts import Facts, Implied, facts_of
from training.checkpoints.files import Contents
from training.checkpoints.folding import in_other_pixels, rgb_from_bgr
from training.checkpoints.layout import Layout, Origin, Origins, Shape, Shapes
from training.checkpoints.mmflow import MMFLOW, MMFLOW_RAFT
from training.checkpoints.nvidia import NVIDIA
from training.checkpoints.own import check_header, is_own, own_layout
from training.checkpoints.pinard import PINARD, PINARD_BN
from training.checkpoints.princeton import PRINCETON
from training.checkpoints.ptlflow import PTLFLOW, PTLFLOW_RAFT
from training.checkpoints.stated import Stated
from training.checkpoints.torchvision import TORCHVISION
from training.networks.registry import NETWORKS, network_without_weights

LAYOUTS = (NVIDIA, PINARD, PINARD_BN, PRINCETON, TORCHVISION, MMFLOW, MMFLOW_RAFT)
LIGHTNING_LAYOUTS = (PTLFLOW, PTLFLOW_RAFT)
# A file that shares fewer of a network's names is of another network.
_FEWEST_SHARED = 0.5
# Types that weights are stored in; smaller ones need scales, which no layout here has.
FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
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
        facts: what the network was taken to be; None if it is unknown.
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
    facts: Facts | None = None

    @property
    def is_known(self) -> bool:
        """Whether the file is of this network, perhaps damaged."""
        return self.shared >= _FEWEST_SHARED * self.expected

    @property
    def _score(self) -> int:
        return self.shared - len(self.missing) - len(self.left_over) - 2 * len(self.wrong)


def recognise(contents: Contents, stated: Stated | None = None) -> Match:
    """Return the network and layout that a file fits best; `Match.is_known` judges it.

    Args:
        contents: the file.
        stated: facts that hold whatever the file says.

    Raises:
        ValueError: the header of this project's file lacks a key or names an unknown network, or a
            fact cannot be used, see `facts_of`.
    """
    layouts: Sequence[Layout] = LIGHTNING_LAYOUTS if contents.lightning else LAYOUTS
    if is_own(contents):
        check_header(contents.facts)
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
    match = max(matches, key=lambda match: match._score)
    if not match.is_known:
        return match
    scale = properties_of(match.network)[1]
    own = Implied(match.layout, match.network, scale)
    facts = facts_of(contents, own, stated or Stated())
    origins = match.origins
    if facts.color.value == "BGR":
        origins = rgb_from_bgr(origins)
    if facts.flow_scale.value != scale:
        origins = in_other_pixels(origins, facts.flow_scale.value, scale)
    return replace(match, origins=origins, facts=facts)


@functools.cache
def properties_of(network: str) -> tuple[Shapes, float]:
    """Return the shapes of a network's tensors, without making any, and its ``flow_scale``."""
    built = network_without_weights(network)
    shapes = {name: tuple(value.shape) for name, value in built.state_dict().items()}
    return shapes, built.flow_scale


def _match(tensors: Mapping[str, Tensor], layout: Layout, network: str) -> Match:
    origins = layout.origins(network, properties_of(network)[0])
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
    return tuple(tensor.shape) == shape and (tensor.dtype in FLOATS or name.endswith(_UNNEEDED))


def _described(tensor: Tensor) -> str:
    kind = "" if tensor.dtype in FLOATS else f" {tensor.dtype}".replace("torch.", "")
    return _text(tensor.shape) + kind


def _text(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "a number"
