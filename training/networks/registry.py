"""The networks by name: how each is built, and what deployment has to know about it.

Imports no PyTorch, so that command lines and the plan rebuild on a device can read it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from engine.errors import nearest
from training.networks import int8_recipes
from training.networks.entry import (
    NetworkEntry,
    Port,
    Recurrence,
    Tolerance,
    map_port,
)

if TYPE_CHECKING:
    from training.networks.layers import FlowNetwork


def _flownets(width: float) -> FlowNetwork:
    from training.networks.flownets import FlowNetS

    return FlowNetS(width=width)


def _flownets_pyramid(width: float) -> FlowNetwork:
    from training.networks.flownets_pyramid import PyramidFlowNetS

    return PyramidFlowNetS(width=width)


def _coarse_to_fine(width: float) -> FlowNetwork:
    from training.networks.coarse_to_fine import CoarseToFineFlowNetS

    return CoarseToFineFlowNetS(width=width)


def _flownetc(width: float) -> FlowNetwork:
    from training.networks.flownetc import FlowNetC

    return FlowNetC(width=width)


def _flownetsd(width: float) -> FlowNetwork:
    from training.networks.flownetsd import FlowNetSD

    return FlowNetSD(width=width)


def _flownetcs(width: float) -> FlowNetwork:
    from training.networks.flownet2 import FlowNetCS

    return FlowNetCS(width=width)


def _flownetcss(width: float) -> FlowNetwork:
    from training.networks.flownet2 import FlowNetCSS

    return FlowNetCSS(width=width)


def _flownet2(width: float) -> FlowNetwork:
    from training.networks.flownet2 import FlowNet2

    return FlowNet2(width=width)


def _raft_large() -> FlowNetwork:
    from training.networks.raft import raft_large

    return raft_large()


def _raft_small() -> FlowNetwork:
    from training.networks.raft import raft_small

    return raft_small()


_TOLERANCES = {
    "fp32": Tolerance(mean_px=1e-3, max_px=0.05, relative=1e-3),
    # Rounding to 11 bits costs 0.003 px in ONNX Runtime at 40 px of motion (flownets_slim).
    # OpenVINO also rounds the slope of LeakyReLU, 0.1, to 0.09998: over all layers 1e-3 of the
    # flow, 0.036 px. A float32 LeakyReLU would avoid that but no longer fuse with its convolution.
    "fp16": Tolerance(mean_px=0.04, max_px=1.0, relative=1e-2),
    # The accuracy gate judges int8; these limits detect graphs that are computed wrongly.
    "int8": Tolerance(mean_px=3.0, max_px=100.0, relative=0.3),
}


_FLOWNETS = NetworkEntry(
    build=partial(_flownets, 1.0),
    tolerances=_TOLERANCES,
    int8=int8_recipes.FLOWNETS,
    # The finest head predicts pixels / 20: half precision would put steps of 0.04 px between
    # neighbouring values of a flow of 60 px.
    fp32_islands=("predict_flow2",),
)
_PYRAMID = NetworkEntry(
    build=partial(_flownets_pyramid, 1.0),
    tolerances=_TOLERANCES,
    int8=int8_recipes.PYRAMID,
    fp32_islands=(
        *("predict_flow2", "refinement8.predict_residual", "refinement4.predict_residual"),
    ),
)
_COARSE_TO_FINE = replace(
    _PYRAMID,
    build=partial(_coarse_to_fine, 1.0),
    int8=int8_recipes.COARSE_TO_FINE,
    refine="variational",
)
_FLOWNETC = replace(
    _FLOWNETS,
    build=partial(_flownetc, 1.0),
    int8=int8_recipes.FLOWNETC,
    has_correlation=True,
)
_FLOWNETSD = replace(_FLOWNETS, build=partial(_flownetsd, 1.0), int8=int8_recipes.FLOWNETSD)
_FLOWNETCS = replace(
    _FLOWNETC,
    build=partial(_flownetcs, 1.0),
    int8=int8_recipes.FLOWNETCS,
    fp32_islands=("flownetc.predict_flow2", "flownets_1.predict_flow2"),
)
_FLOWNETCSS = replace(
    _FLOWNETCS,
    build=partial(_flownetcss, 1.0),
    int8=int8_recipes.FLOWNETCSS,
    fp32_islands=(*_FLOWNETCS.fp32_islands, "flownets_2.predict_flow2"),
)
_FLOWNET2 = replace(
    _FLOWNETCSS,
    build=partial(_flownet2, 1.0),
    int8=int8_recipes.FLOWNET2,
    fp32_islands=(
        *_FLOWNETCSS.fp32_islands,
        *("flownets_d.predict_flow2", "flownetfusion.predict_flow0"),
    ),
)


def _raft_recurrence(steps: int) -> Recurrence:
    """Return the tensors of RAFT with that many GRUs in an update."""
    terms = tuple(map_port(f"{gate}{step}", 8) for step in range(steps) for gate in ("zr", "q"))
    volume = Port("volume", ("batch", "height / 8", "width / 8", "values"))
    pyramid = Port("pyramid", ("batch", "", "values", ""))
    return Recurrence(
        stride=8,
        constants={
            "volume": (volume, *terms),
            "on_the_fly": (map_port("pixels", 8), pyramid, *terms),
        },
    )


# Each update reads the flow of the one before: rounding grows with it, 3 to 4 times from 4 to 12
# updates, in the published code as well, and largest where weights are random.
_RECURRENT_TOLERANCES = {
    "fp32": Tolerance(mean_px=5e-3, max_px=0.2, relative=1e-3),
    "fp16": Tolerance(mean_px=0.4, max_px=10.0, relative=3e-2),
}
_RAFT_LARGE = NetworkEntry(
    build=_raft_large, tolerances=_RECURRENT_TOLERANCES, recurrence=_raft_recurrence(steps=2)
)
_RAFT_SMALL = replace(_RAFT_LARGE, build=_raft_small, recurrence=_raft_recurrence(steps=1))

# The thin variants of FlowNet 2.0 (arXiv 1612.01925, section 5) have 3/8 of the channels.
_SLIM = 3 / 8
NETWORKS: dict[str, NetworkEntry] = {
    "flownets": _FLOWNETS,
    "flownets_pyramid": _PYRAMID,
    "flownetc": _FLOWNETC,
    "flownetsd": _FLOWNETSD,
    "flownetcs": _FLOWNETCS,
    "flownetcss": _FLOWNETCSS,
    "flownet2": _FLOWNET2,
    "flownets_slim": replace(_FLOWNETS, build=partial(_flownets, _SLIM)),
    "flownets_pyramid_slim": replace(_PYRAMID, build=partial(_flownets_pyramid, _SLIM)),
    "coarse_to_fine_slim": replace(_COARSE_TO_FINE, build=partial(_coarse_to_fine, _SLIM)),
    "flownetc_slim": replace(_FLOWNETC, build=partial(_flownetc, _SLIM)),
    "raft_large": _RAFT_LARGE,
    "raft_small": _RAFT_SMALL,
}


def network_entry(name: str) -> NetworkEntry:
    """Return the entry of a network.

    Raises:
        ValueError: the name is unknown; the message suggests the nearest one.
    """
    if name not in NETWORKS:
        raise ValueError(
            f"unknown network {name!r}; expected one of {', '.join(NETWORKS)}."
            f"{nearest(name, NETWORKS)}"
        )
    return NETWORKS[name]


def build_network(name: str, *, seed: int | None = None) -> FlowNetwork:
    """Build a network with freshly initialised weights.

    Args:
        name: a key of ``NETWORKS``.
        seed: seed of the initialisation; ``None`` draws from torch's global generator.

    Raises:
        ValueError: the name is unknown; the message suggests the nearest one.
    """
    build = network_entry(name).build
    if seed is None:
        return build()
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def network_without_weights(name: str) -> FlowNetwork:
    """Build a network on PyTorch's meta device: shapes, but neither memory nor time for values.

    Raises:
        ValueError: the name is unknown; the message suggests the nearest one.
    """
    import torch

    with torch.device("meta"):
        return network_entry(name).build()
