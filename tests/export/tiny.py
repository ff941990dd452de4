"""The network "tiny": its weights, its weights file, and `build_engine` called for it."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from torch import nn

from export import build_engine
from training.networks.entry import NetworkEntry
from training.networks.flownetc import FlowNetC
from training.networks.flownets import FlowNetS
from training.networks.registry import NETWORKS
from training.weights import METADATA_KEYS, save_weights

Network = TypeVar("Network", bound=nn.Module)

METADATA = dict.fromkeys(METADATA_KEYS, "none") | {
    "network": "tiny",
    "normalisation": "fixed_mean",
    "licence": "MIT",
    "source": "seeded noise",
    "epe": '{"noise": 12.5}',
}


def tiny_flownets() -> FlowNetS:
    return FlowNetS(width=1 / 16)


def tiny_flownetc() -> FlowNetC:
    return FlowNetC(width=1 / 16)


def tiny_entry(name: str) -> NetworkEntry:
    """The registry's entry of a network, with 1/16 of its channels."""
    build = {"flownets": tiny_flownets, "flownetc": tiny_flownetc}[name]
    return replace(NETWORKS[name], build=build)


def seeded(build: Callable[[], Network]) -> Network:
    """Weights that float16 holds exactly, and heads strong enough for flow of several pixels."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        network = build()
        for name, values in network.state_dict().items():
            if name.startswith("predict_flow") and name.endswith("weight"):
                values.mul_(100)
            values.copy_(values.half())
    return network.eval()


def save_tiny(network: nn.Module, path: Path, **metadata: str) -> Path:
    save_weights(path, network.state_dict(), METADATA | metadata)
    return path


def build(weights: Path, output: Path, *options: str) -> int:
    """Run `build_engine`; options given twice count as they are here."""
    common = ["--network", "tiny", "--weights", str(weights), "--size", "128x192"]
    return build_engine.main([*common, "-o", str(output), *options])


def assert_one_line(capsys: pytest.CaptureFixture[str], message: str) -> None:
    """What the command said of an error."""
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert re.search(f"^error: .*{message}", lines[0])
