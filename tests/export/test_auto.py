"""`--precision auto` with builds that take no time and latencies that are given."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from torch import nn

import engine
from engine.bundle.manifest import (
    Manifest,
    SizeProfile,
    WeightsOrigin,
    read_manifest,
    write_manifest,
)
from engine.errors import BackendNotInstalledError, HardwareMissingError
from export import fastest as auto
from export.build_request import Request
from export.bundle import VerificationError
from export.fastest import build_fastest, latencies_ms
from export.int8.gate import GateError
from tests.support.tiny_network import in_precision
from training.networks.registry import NETWORKS

Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")


def request(precision: Precision) -> Request:
    return Request(
        name="tiny",
        network=nn.Identity(),
        normalisation=nn.Identity(),
        origin=WeightsOrigin("0" * 64, "", "", {}),
        entry=NETWORKS["flownets"],
        precision=precision,
        profile=SizeProfile((1, 64, 64), (1, 64, 128), (1, 64, 128)),
        targets=("onnxruntime",),
    )


REQUESTS = [request(precision) for precision in PRECISIONS]


@pytest.fixture
def failures(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, GateError | VerificationError]:
    """What building a precision raises; all others copy the tiny bundle."""
    errors: dict[str, GateError | VerificationError] = {}

    def build(output: Path, request: Request) -> Manifest:
        if request.precision in errors:
            raise errors[request.precision]
        shutil.copytree(tiny_bundle, output, dirs_exist_ok=True)
        manifest = in_precision(read_manifest(output), request.precision)
        write_manifest(output, manifest)
        return manifest

    monkeypatch.setattr(auto, "build_into", build)
    return errors


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Latencies in ms; those of bundles that there are."""
    times = dict.fromkeys(PRECISIONS, 30.0)

    def latencies(bundles: dict[str, Path], _request: Request) -> dict[str, float]:
        assert all(read_manifest(path).precision == name for name, path in bundles.items())
        return {name: times[name] for name in bundles}

    monkeypatch.setattr(auto, "latencies_ms", latencies)
    return times


@pytest.mark.usefixtures("failures")
@pytest.mark.parametrize("fastest", PRECISIONS)
@pytest.mark.parametrize("exists", [False, True])
def test_the_fastest_is_put_in_place(
    tmp_path: Path,
    tiny_bundle: Path,
    measured: dict[str, float],
    fastest: Precision,
    exists: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "out" / "bundle"
    if exists:
        shutil.copytree(tiny_bundle, output)
        (output / "match.onnx").touch()
    measured[fastest] = 20.0

    manifest = build_fastest(REQUESTS, output)

    assert manifest.precision == fastest
    assert read_manifest(output) == manifest
    assert {path.name for path in output.iterdir()} == {"manifest.json", "model.onnx"}
    assert list(output.parent.iterdir()) == [output]
    listed = ", ".join(f"{name} {measured[name]:.1f} ms" for name in PRECISIONS)
    assert f"{fastest}, by median latency: {listed}" in capsys.readouterr().out


@pytest.mark.parametrize("error", [GateError("too much"), VerificationError(["wrong", "as well"])])
def test_a_precision_that_fails_is_left_out_and_said(
    tmp_path: Path,
    failures: dict[str, Any],
    measured: dict[str, float],
    error: Exception,
    capsys: pytest.CaptureFixture[str],
) -> None:
    failures["int8"] = error
    measured["int8"] = 1.0
    measured["fp16"] = 20.0
    assert build_fastest(REQUESTS, tmp_path / "bundle").precision == "fp16"
    said = capsys.readouterr().out
    assert f"skipped: int8: {error}" in said
    assert "int8 1.0 ms" not in said
    assert list(tmp_path.iterdir()) == [tmp_path / "bundle"]


def test_without_fp32_there_is_no_bundle_and_the_old_one_stays(
    tmp_path: Path, tiny_bundle: Path, failures: dict[str, Any], measured: dict[str, float]
) -> None:
    output = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, output)
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    failures["fp32"] = VerificationError(["wrong"])
    with pytest.raises(VerificationError, match="wrong"):
        build_fastest(REQUESTS, output)
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before
    assert list(tmp_path.iterdir()) == [output]


def test_latencies_are_of_all_bundles_in_turns(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[Path] = []
    shapes = set()
    load = engine.load

    class Watched:
        def __init__(self, path: Path, *, backend: str) -> None:
            # Not the one that comes before it, which nothing was verified with.
            assert backend == "onnxruntime"
            self.path, self.engine = path, load(path, backend=backend)

        def __enter__(self) -> "Watched":
            return self

        def __exit__(self, *_: object) -> None:
            self.engine.close()

        def infer(self, *images: Any) -> Any:
            order.append(self.path)
            shapes.update(image.shape for image in images)
            return self.engine.infer(*images)

    monkeypatch.setattr(engine, "load", Watched)
    other = tiny_bundle / ".." / tiny_bundle.name
    times = latencies_ms({"fp32": tiny_bundle, "fp16": other}, request("fp32"))
    assert times.keys() == {"fp32", "fp16"}
    assert min(times.values()) > 0
    assert shapes == {(1, 64, 128, 3)}
    turns = [path for index, path in enumerate(order) if index == 0 or path != order[index - 1]]
    assert len(turns) >= 6
    assert turns == [tiny_bundle, other] * (len(turns) // 2)


def test_each_is_measured_on_the_first_backend_that_it_was_verified_with(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As OpenVINO may run fp32 on a CPU that its int8 would overflow on."""
    opened: list[tuple[str, str]] = []
    load = engine.load

    def watched(path: Path, *, backend: str) -> engine.FlowEngine:
        if backend == "tensorrt":
            raise BackendNotInstalledError("no TensorRT")
        if (path.name, backend) == ("int8", "openvino"):
            raise HardwareMissingError("no VNNI")
        opened.append((path.name, backend))
        return load(tiny_bundle, backend="onnxruntime")

    monkeypatch.setattr(engine, "load", watched)
    asked = replace(request("fp32"), targets=("tensorrt", "openvino"))
    latencies_ms({"fp32": Path("fp32"), "int8": Path("int8")}, asked)
    assert opened == [("fp32", "openvino"), ("int8", "onnxruntime")]
