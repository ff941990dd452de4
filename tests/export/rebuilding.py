"""A bundle to rebuild, the command, and a double for TensorRT."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

from engine.backends import registry as backends
from engine.backends.tensorrt.package import TensorRT
from engine.bundle.manifest import (
    BundleFile,
    Manifest,
    Parity,
    Precision,
    SizeProfile,
    WeightsOrigin,
    write_manifest,
)
from engine.bundle.schema1 import role_of
from engine.errors import BackendNotInstalledError
from export import rebuild
from export.tensorrt.plan_from_onnx import BuiltPlan
from tests.export.matrix import write_onnx

PROFILE = SizeProfile((1, 64, 64), (1, 64, 128), (2, 128, 256))
ORT = Parity("onnxruntime", "ok", None, 1e-6, 1e-5, 0.0, "pairs")


def written(folder: Path, *files: str, precision: Precision = "fp32", **changes: Any) -> Path:
    folder.mkdir()
    write_onnx(folder / "model.onnx")
    for name in files or ("model.rtx",):
        (folder / name).write_bytes(b"the old plan")
    manifest = Manifest(
        network="flownets",
        precision=precision,
        layout="NHWC",
        divisor=64,
        profile=PROFILE,
        files={
            path.name: BundleFile.of(
                path,
                role=role_of(path.name),
                precision=None if path.suffix == ".so" else precision,
                tool="an old tool",
                compute_capability="9.0" if path.suffix == ".plan" else None,
            )
            for path in folder.iterdir()
        },
        parity=(ORT, Parity("tensorrt", "ok", None, 2e-6, 2e-5, 0.0, "pairs")),
        gate=None,
        weights=WeightsOrigin("1" * 64, "noise", "MIT", {}),
    )  # fmt: skip
    write_manifest(folder, replace(manifest, **changes))
    return folder


class Builder:
    """Stands in for TensorRT: writes a plan, and keeps what it was given."""

    def __init__(self) -> None:
        self.package = "tensorrt_rtx"
        self.content = b"the new plan, longer"
        self.models: list[onnx.ModelProto] = []
        self.options: dict[str, Any] = {}
        self.asked: list[str] = []

    def load(self, names: Any) -> TensorRT:
        self.asked = list(names)
        return TensorRT(self.package, SimpleNamespace(__version__="99"))

    def build(
        self, onnx_path: Path, plan_path: Path, profile: SizeProfile, **options: Any
    ) -> BuiltPlan:
        self.models.append(onnx.load(onnx_path))
        self.options = {"profile": profile, **options}
        tensorrt = self.load(options["packages"])
        plan_path.with_name(tensorrt.plan_file).write_bytes(self.content)
        capability = "8.7" if self.package == "tensorrt" else None
        size = len(self.content)
        return BuiltPlan(tensorrt.plan_file, tensorrt.tool, capability, size)


def no_gpu(bundle: Path, manifest: Manifest, **settings: Any) -> Any:
    raise BackendNotInstalledError("no GPU here")


def the_onnx(bundle: Path, manifest: Manifest, **settings: Any) -> Any:
    return backends.open_backend("onnxruntime", bundle, manifest, **settings)


def shifted(bundle: Path, manifest: Manifest, **settings: Any) -> Any:
    backend = the_onnx(bundle, manifest, **settings)
    run = backend.run
    backend.run = lambda first, second: run(first, second) + np.float32(0.5)
    return backend


def run_plans_as(monkeypatch: pytest.MonkeyPatch, opened: Callable[..., Any]) -> None:
    """Let a function open what the TensorRT backend would."""
    monkeypatch.setitem(sys.modules, "stand_in", SimpleNamespace(Backend=opened))
    monkeypatch.setitem(backends.BACKENDS, "tensorrt", "stand_in:Backend")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def rebuilt(folder: Path) -> int:
    return rebuild.main([str(folder)])
