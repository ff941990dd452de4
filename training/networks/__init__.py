"""The networks, one builder per name."""

import difflib
from collections.abc import Callable
from functools import partial

import torch

from training.networks.flownetc import FlowNetC
from training.networks.flownets import FlowNetS
from training.networks.flownets_pyramid import PyramidFlowNetS
from training.networks.layers import FlowNetwork

NETWORKS: dict[str, Callable[[], FlowNetwork]] = {
    "flownets": FlowNetS,
    "flownets_pyramid": PyramidFlowNetS,
    "flownetc": FlowNetC,
    # The thin variants of FlowNet 2.0 (arXiv 1612.01925, section 5): 3/8 of the channels.
    "flownets_slim": partial(FlowNetS, width=3 / 8),
    "flownets_pyramid_slim": partial(PyramidFlowNetS, width=3 / 8),
    "flownetc_slim": partial(FlowNetC, width=3 / 8),
}


def build_network(name: str, *, seed: int | None = None) -> FlowNetwork:
    """Build a network with freshly initialised weights.

    Args:
        name: a key of ``NETWORKS``.
        seed: seed of the initialisation; ``None`` draws from torch's global generator.

    Raises:
        ValueError: the name is unknown; the message gives the nearest one.
    """
    if name not in NETWORKS:
        match = difflib.get_close_matches(name, NETWORKS, n=1)
        hint = f" Did you mean {match[0]!r}?" if match else ""
        raise ValueError(f"unknown network {name!r}; known: {', '.join(NETWORKS)}.{hint}")
    if seed is None:
        return NETWORKS[name]()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NETWORKS[name]()
