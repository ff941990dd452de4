"""What fp32 PyTorch computes for a build, all of it before the network is exported.

The network's weights are then needed for the export alone, and their memory is free for the
runtimes: FlowNet2 has 650 MB of them.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from engine.bundle.manifest import OperationCount
from engine.data.pair import Pair
from export.build_request import Quantisation, Request
from export.graph.deployable import Deployable, reference_flow
from export.graph.properties import operation_count, parameter_count
from export.int8.calibrate import calibrate
from export.memory import release_memory
from export.progress import Step, step
from export.verify.cases import pairs_within
from export.verify.parity import Case
from training.int8.ranges import ActivationStatistics


@dataclass(frozen=True)
class Reference:
    """Reference flows and properties of a network.

    Attributes:
        cases: of the verification.
        gate: of the gate's sets, by name; int8 only.
        statistics: by layer, of its input in calibration; int8 only.
        parameters: of the network.
        operations: of the network.
    """

    cases: Sequence[Case]
    parameters: int
    operations: OperationCount
    gate: Mapping[str, Sequence[Case]] = field(default_factory=dict)
    statistics: Mapping[str, ActivationStatistics] = field(default_factory=dict)


def reference_of(request: Request) -> Reference:
    """Run the network in PyTorch on all pairs of a build."""
    deployable = Deployable(request.network, request.normalisation).eval()
    operations = operation_count(deployable, request.profile)
    quantisation = request.quantisation
    with _channels_last(deployable):
        statistics = {} if quantisation is None else _calibrated(deployable, quantisation)
        with step("reference") as current:
            pairs = pairs_within(request.profile)
            cases = _with_flows(deployable, pairs, current)
            current.result = "fp32 PyTorch on " + ", ".join(pair.name for pair in pairs)
        gate = {} if quantisation is None else _gate(deployable, quantisation)
    release_memory()
    return Reference(cases, parameter_count(request.network), operations, gate, statistics)


def _calibrated(
    deployable: Deployable, quantisation: Quantisation
) -> dict[str, ActivationStatistics]:
    with step("calibrate") as current:
        statistics = calibrate(deployable, current.counted(quantisation.calibration))
        current.result = f"{len(statistics)} layers on {quantisation.calibration_name}"
    return statistics


def _gate(deployable: Deployable, quantisation: Quantisation) -> dict[str, list[Case]]:
    with step("reference") as current:
        gate = {
            name: _with_flows(deployable, pairs, current)
            for name, pairs in quantisation.gate.items()
        }
        current.result = f"fp32 PyTorch on the gate's pairs: {', '.join(gate)}"
    return gate


def _with_flows(deployable: Deployable, pairs: Sequence[Pair], current: Step) -> list[Case]:
    return [(pair, reference_flow(deployable, pair)) for pair in current.counted(pairs)]


@contextlib.contextmanager
def _channels_last(deployable: Deployable) -> Iterator[None]:
    """Store the weights as PyTorch's convolutions on CPUs take them: a fifth less time."""
    _store_as(deployable, torch.channels_last)
    try:
        yield
    finally:  # the exporter traces strides
        _store_as(deployable, torch.contiguous_format)


def _store_as(deployable: Deployable, memory_format: torch.memory_format) -> None:
    for parameter in deployable.parameters():
        order = memory_format if parameter.ndim == 4 else torch.contiguous_format
        # A copy of all, small ones too: any tensor of the file keeps the whole file in memory.
        parameter.data = parameter.data.clone(memory_format=order)
