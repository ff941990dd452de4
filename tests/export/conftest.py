"""A narrow FlowNetS with seeded weights: the real structure, seconds to export."""

from functools import partial

import onnx
import pytest
import torch

from export.deployable import Deployable
from export.onnx_from_torch import onnx_from_torch
from export.precision import HalfNetwork
from export.spec import SPECS
from training.networks.flownets import FlowNetS
from training.normalise import FixedMean

TinyFlowNetS = partial(FlowNetS, width=1 / 16)


@pytest.fixture(scope="session")
def network() -> FlowNetS:
    """Weights that float16 holds exactly, and heads strong enough for flow of several pixels."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        network = TinyFlowNetS()
        for name, values in network.state_dict().items():
            if name.startswith("predict_flow") and name.endswith("weight"):
                values.mul_(100)
            values.copy_(values.half())
    return network.eval()


@pytest.fixture(scope="session")
def deployable(network: FlowNetS) -> Deployable:
    return Deployable(network, FixedMean()).eval()


@pytest.fixture(scope="session")
def half_deployable(network: FlowNetS) -> Deployable:
    half = HalfNetwork(network, fp32_islands=SPECS["flownets"].fp32_islands)
    return Deployable(half, FixedMean()).eval()


@pytest.fixture(scope="session")
def exported(deployable: Deployable) -> onnx.ModelProto:
    """The fp32 graph; copy it before changing it."""
    return onnx_from_torch(deployable, metadata={"network": "tiny", "precision": "fp32"})


@pytest.fixture(scope="session")
def half_exported(half_deployable: Deployable) -> onnx.ModelProto:
    """The fp16 graph; copy it before changing it."""
    return onnx_from_torch(half_deployable, metadata={"network": "tiny", "precision": "fp16"})
