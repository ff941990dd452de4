"""Narrow networks with seeded weights: the real structure, seconds to export."""

import copy
import fcntl
import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from torch import nn
from torch.export import ExportedProgram

import engine
from engine import FlowEngine
from engine.backends.tensorrt.package import load_tensorrt
from engine.bundle.manifest import BundleFile, read_manifest, write_manifest
from engine.cuda.device import Device
from engine.errors import BackendNotInstalledError, HardwareMissingError
from export import rebuild
from export.graph import onnx_models as graphs
from export.graph.deployable import Deployable
from export.graph.onnx_from_torch import onnx_from_torch, two_graphs_from_torch
from export.graph.precision import HalfNetwork
from export.tensorrt.plan_from_onnx import build_plan
from tests.export.rebuilding import Builder, no_gpu, run_plans_as, written
from tests.export.tiny import save_tiny, seeded, tiny_entry, tiny_flownetc, tiny_flownets
from training.networks import NETWORKS
from training.networks.flownetc import FlowNetC
from training.networks.flownets import FlowNetS
from training.networks.flownets_pyramid import PyramidFlowNetS
from training.networks.upsampling import upsample_matmul
from training.normalise import FixedMean

Once = Callable[[str, Callable[[], onnx.ModelProto]], onnx.ModelProto]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Return a function that makes a model once for all processes of a run: exports take seconds.

    The first process writes it to a file; the others wait for that and read it.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # shared by the workers

    def made_once(name: str, make: Callable[[], onnx.ModelProto]) -> onnx.ModelProto:
        path = folder / f"{name}.onnx"
        with (folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                with _single_trace():
                    onnx.save(make(), path)
        return onnx.load(path)

    return made_once


@pytest.fixture(scope="session")
def network() -> FlowNetS:
    return seeded(tiny_flownets)


@pytest.fixture(scope="session")
def flownetc() -> FlowNetC:
    return seeded(tiny_flownetc)


@pytest.fixture(scope="session")
def deployable(network: FlowNetS) -> Deployable:
    return Deployable(network, FixedMean()).eval()


@pytest.fixture(scope="session")
def exported(network: FlowNetS, once: Once) -> onnx.ModelProto:
    """The fp32 graph; copy it before changing it."""
    return once("flownets", lambda: _exported(network, "fp32"))


@pytest.fixture(scope="session")
def half_exported(network: FlowNetS, once: Once) -> onnx.ModelProto:
    """The fp16 graph; copy it before changing it."""
    half = HalfNetwork(network, fp32_islands=NETWORKS["flownets"].fp32_islands)
    return once("flownets-half", lambda: _exported(half, "fp16"))


@pytest.fixture(scope="session")
def flownetc_exported(flownetc: FlowNetC, once: Once) -> onnx.ModelProto:
    """FlowNetC's fp32 graph; copy it before changing it."""
    return once("flownetc", lambda: _exported(flownetc, "fp32"))


@pytest.fixture(scope="session")
def flownetc_split(flownetc: FlowNetC, once: Once) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """FlowNetC's two fp32 graphs; copy them before changing them."""

    @functools.cache
    def exported() -> tuple[onnx.ModelProto, onnx.ModelProto]:
        return two_graphs_from_torch(flownetc, FixedMean(), metadata={})

    return (
        once("flownetc-features", lambda: exported()[0]),
        once("flownetc-match", lambda: exported()[1]),
    )


@pytest.fixture(scope="session")
def pyramid() -> PyramidFlowNetS:
    network = seeded(lambda: PyramidFlowNetS(width=1 / 16))
    # A pixel or so, and less of what two steps add: each multiplies rounding errors.
    network.refinement8.predict_residual.weight.data.mul_(10)
    network.refinement4.predict_residual.weight.data.mul_(3)
    # All alike at first, and then exported as one.
    network.upsampled_flow4_to_3.weight.data.mul_(1.01)
    network.upsampled_flow3_to_2.weight.data.mul_(1.02)
    return network


@pytest.fixture(scope="session")
def pyramid_exported(pyramid: PyramidFlowNetS, once: Once) -> onnx.ModelProto:
    """The pyramid's fp32 graph; copy it before changing it."""
    return once("pyramid", lambda: _exported(pyramid, "fp32"))


def _exported(network: nn.Module, precision: str) -> onnx.ModelProto:
    whole = Deployable(network, FixedMean(), upsample_matmul)
    return onnx_from_torch(whole, metadata={"network": "tiny", "precision": precision})


@contextmanager
def _single_trace() -> Iterator[None]:
    """Fail if PyTorch decomposes a whole program, which doubles the time of an export.

    All graphs of these fixtures are exported so: it is the test that none is traced twice.
    """

    def traced_again(*_: object) -> None:
        pytest.fail("PyTorch decomposes the whole program, which doubles the time of an export")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ExportedProgram, "run_decompositions", traced_again)
        yield


@pytest.fixture
def weights(tmp_path: Path, network: FlowNetS, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The weights file of the network "tiny", which `build_engine` knows as long as this lasts."""
    monkeypatch.setitem(NETWORKS, "tiny", tiny_entry("flownets"))
    return save_tiny(network, tmp_path / "weights" / "tiny.safetensors")


@pytest.fixture
def quick_export(
    monkeypatch: pytest.MonkeyPatch, exported: onnx.ModelProto, half_exported: onnx.ModelProto
) -> dict[str, onnx.ModelProto]:
    """Take the graphs that the session has already exported from the very same network."""
    models = {"fp32": copy.deepcopy(exported), "fp16": copy.deepcopy(half_exported)}

    def export(deployable: Deployable, **_kwargs: Any) -> onnx.ModelProto:
        return models["fp16" if isinstance(deployable.network, HalfNetwork) else "fp32"]

    monkeypatch.setattr(graphs, "onnx_from_torch", export)
    return models


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """To be rebuilt: a network of one matrix, and a plan that is none."""
    return written(tmp_path / "bundle")


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch) -> Builder:
    """What rebuilds it, as long as this lasts."""
    made = Builder()
    monkeypatch.setattr(rebuild, "load_tensorrt", made.load)
    monkeypatch.setattr(rebuild, "build_plan", made.build)
    run_plans_as(monkeypatch, no_gpu)
    return made


@pytest.fixture
def gpu() -> Device:
    try:
        load_tensorrt()
        return Device(0)
    except (BackendNotInstalledError, HardwareMissingError) as error:
        pytest.skip(str(error))


@pytest.fixture
def plan_engine(gpu: Device, tiny_bundle: Path, tmp_path: Path) -> Iterator[FlowEngine]:
    """The tiny bundle's network in a plan, built for the GPU that is here."""
    manifest = read_manifest(tiny_bundle)
    model, plan = tiny_bundle / "model.onnx", tmp_path / "model.plan"
    built = build_plan(model, plan, manifest.profile, precision="fp32")
    file = BundleFile.of(
        tmp_path / built.file,
        role="plan",
        precision="fp32",
        tool=built.tool,
        compute_capability=built.compute_capability,
    )
    write_manifest(tmp_path, replace(manifest, files={built.file: file}))
    try:
        opened = engine.load(tmp_path, backend="tensorrt")
    except HardwareMissingError as error:
        pytest.skip(str(error))
    with opened:
        yield opened
