"""Properties of a network that its bundle's manifest states."""

from typing import Literal, cast

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from engine.bundle.manifest import OperationCount, Preprocessing, Recurrence, SizeProfile
from export.build_request import Request
from export.graph.deployable import Deployable
from training.networks.coarse_to_fine import CoarseToFineFlowNetS
from training.networks.layers import FlowNetwork, RecurrentNetwork
from training.normalise import NORMALISATIONS


def parameter_count(network: nn.Module) -> int:
    """Return the number of trained parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def operation_count(network: Deployable, profile: SizeProfile) -> OperationCount:
    """Count the fp32 network's floating-point operations for one pair of the profile's opt size.

    PyTorch's FlopCounterMode counts convolutions and matrix products, a multiply-add as two; the
    correlation is an operator of its own and is not counted. Only shapes are computed.
    """
    _, height, width = profile.opt
    with (
        FlopCounterMode(display=False) as counter,
        FakeTensorMode(allow_non_fake_inputs=True),
        torch.no_grad(),
    ):
        network(*torch.zeros(2, 1, height, width, 3, dtype=torch.uint8))
    return OperationCount(counter.get_total_flops() / 1e9, height, width)


def preprocessing_of(network: FlowNetwork, normalisation: nn.Module) -> Preprocessing:
    """Describe how a deployed network treats its inputs and its output."""
    names = {kind: name for name, kind in NORMALISATIONS.items()}
    return Preprocessing(
        color_order="RGB",
        value_range=(0, 255),
        normalisation=names[type(normalisation)],
        flow_scale=network.flow_scale,
        flow_unit="pixels",
    )


def passes_of(network: nn.Module) -> int | None:
    """Return how often a network is applied from coarse to fine; None: it is not."""
    return network.passes if isinstance(network, CoarseToFineFlowNetS) else None


def recurrence_of(request: Request) -> Recurrence | None:
    """Describe the updates of a recurrent network; None for other networks."""
    ports, network = request.entry.recurrence, request.network
    if ports is None or not isinstance(network, RecurrentNetwork):
        return None
    lookup = cast(Literal["volume", "on_the_fly"], request.lookup)
    return Recurrence(network.iterations, lookup, ports.stride)
