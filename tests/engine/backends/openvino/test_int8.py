"""Which CPUs run an int8 graph in OpenVINO, and in what."""

import logging
import re

import numpy as np
import onnx
import pytest

import engine
from engine.backends.openvino import int8
from engine.backends.openvino.int8 import largest_weight
from engine.backends.openvino.runtime import core_of
from engine.backends.registry import open_backend
from engine.bundle.manifest import read_manifest, write_manifest
from engine.cli.main import main
from engine.errors import HardwareMissingError
from engine.system import cpu
from tests.support.cpu import needs_int8, run_with_limit
from tests.support.tiny_network import manifest_for, tiny_int8_model, tiny_model

openvino = pytest.importorskip("openvino", reason="openvino is an optional extra")


@pytest.fixture
def bundle(tmp_path):
    """Return a function that writes the tiny network with these int8 weights."""

    def write(largest):
        onnx.save(tiny_int8_model(largest), tmp_path / "model.onnx")
        write_manifest(tmp_path, manifest_for(tmp_path, "int8"))
        return tmp_path

    return write


@pytest.fixture
def on(monkeypatch):
    """Return a function that sets the CPU: its flags, and whether AMX runs where it is listed."""

    def use(*flags, amx_runs=True):
        monkeypatch.delenv(cpu.ONEDNN_LIMIT, raising=False)
        monkeypatch.setattr(cpu, "cpu_flags", lambda: frozenset(flags))
        monkeypatch.setattr(cpu, "cpu_model", lambda: "Some CPU")
        monkeypatch.setattr(int8, "cpu_model", lambda: "Some CPU")
        monkeypatch.setattr(cpu, "runs_amx", lambda: amx_runs)

    return use


def opened(folder, name="openvino"):
    return open_backend(name, folder, read_manifest(folder), device=0, threads=1)


def even_images(rng):
    return rng.integers(0, 128, (2, 1, 64, 128, 3), dtype=np.uint8) * 2


@pytest.mark.parametrize("largest", [64, 124])
def test_largest_weight(largest):
    read = core_of(openvino).read_model
    assert largest_weight(read(tiny_int8_model(largest).SerializeToString())) == largest
    assert largest_weight(read(tiny_model().SerializeToString())) == 0


@pytest.mark.parametrize(
    ("flags", "largest", "arithmetic"),
    [
        (("fpu", "avx2"), 64, "int8, with AVX2 (transposed convolutions in float32)"),
        (("fpu", "avx2", "avx512bw"), 64, "int8, with AVX-512"),
        (("fpu", "avx2", "avx_vnni"), 124, "int8, with VNNI"),
        (("fpu", "avx2", "avx512_vnni", "amx_tile"), 124, "int8, with AMX"),
    ],
)
def test_int8_where_it_is_right(bundle, on, tiny_flow, rng, flags, largest, arithmetic):
    on(*flags)
    backend = opened(bundle(largest))
    assert backend.arithmetic == arithmetic
    if largest == 64:  # the others may saturate on the CPU that runs this test
        images = even_images(rng)
        np.testing.assert_allclose(backend.run(*images), tiny_flow(*images), atol=1e-5)
    backend.close()


def test_large_weights_are_refused_without_vnni(bundle, on):
    on("fpu", "avx2")
    folder = bundle(124)
    with pytest.raises(
        HardwareMissingError,
        match=r"int8 bundle: Some CPU has no VNNI, .* saturate\. Use backend onnxruntime.* 7 bits",
    ):
        opened(folder)
    assert opened(folder, "auto").name == "onnxruntime"


@pytest.mark.parametrize("largest", [64, 124])
def test_amx_that_does_not_run_is_refused(bundle, on, largest):
    on("fpu", "avx2", "avx512_vnni", "amx_tile", amx_runs=False)
    with pytest.raises(HardwareMissingError, match="Some CPU lists AMX but does not execute it"):
        opened(bundle(largest))


@pytest.mark.parametrize(
    ("flags", "machine", "reason"),
    [
        ((), "riscv64", "int8 was not measured on Some CPU"),
        (("fpu", "sse4_1", "avx"), "x86_64", "int8 was not measured on Some CPU"),
        (("fp", "asimd", "asimddp"), "aarch64", "OpenVINO computes int8 wrongly on Arm"),
        ((), "arm64", "OpenVINO computes int8 wrongly on Arm"),  # macOS
    ],
)
def test_other_cpus_compute_in_float(
    bundle, on, tiny_flow, rng, caplog, monkeypatch, flags, machine, reason
):
    on(*flags)
    monkeypatch.setattr("platform.machine", lambda: machine)
    with caplog.at_level(logging.INFO, logger="engine"):
        backend = opened(bundle(124), "auto")
    arithmetic = f"float32: {reason}"
    assert caplog.messages[-1] == f"backend openvino opens on cpu, in {arithmetic}"
    images = rng.integers(0, 256, (2, 1, 64, 128, 3), dtype=np.uint8)  # int8 rounds odd values
    np.testing.assert_allclose(backend.run(*images), tiny_flow(*images), atol=1e-5)
    backend.close()


def test_doctor_on_arm(bundle, on, monkeypatch, capsys):
    on("fp", "asimd", "asimddp", "i8mm")
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert main(["doctor", "--bundle", str(bundle(124)), "--threads", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    reason = "float32: OpenVINO computes int8 wrongly on Arm"
    auto = f"auto      openvino, in {reason}: the first that works here; no Arm CPU was timed"
    assert lines[-1] == auto
    assert lines[-2].endswith("in float32: int8 was not measured on Arm")


DEFAULT_RUN = """
import sys
import numpy as np
import engine
from engine.cli.main import main

with engine.load(threads=1, refine="none") as loaded:
    np.save(sys.argv[2], loaded.infer(*np.load(sys.argv[1])))
print(loaded.backend.name)
main(["doctor", "--threads", "1"])
"""


@needs_int8
@pytest.mark.skipif("avx2" not in cpu.cpu_flags(), reason="the CPU has no AVX2")
def test_the_default_bundle_on_a_cpu_without_vnni(tmp_path, rng):
    """Its flow is as near to that of float as it is on this CPU; saturated sums double that."""
    coarse = rng.uniform(0, 255, (19, 27, 3)).repeat(8, 0).repeat(8, 1)
    images = np.stack([coarse[y : y + 128, x : x + 192] for y, x in ((8, 8), (12, 2))])
    np.save(tmp_path / "images.npy", images.astype(np.uint8))
    files = (str(tmp_path / name) for name in ("images.npy", "flow.npy"))
    name, *report = run_with_limit("AVX2", DEFAULT_RUN, *files).splitlines()
    arithmetic = "int8, with AVX2 (transposed convolutions in float32)"
    assert name == "openvino"
    assert any(re.fullmatch(rf"  openvino +yes .* in {re.escape(arithmetic)}", x) for x in report)
    assert report[-1] == f"auto      openvino, in {arithmetic}: the fastest that works here"

    flows = {"limited": np.load(tmp_path / "flow.npy")}
    for backend in ("onnxruntime", "openvino"):
        with engine.load(backend=backend, threads=1, refine="none") as loaded:
            flows[backend] = loaded.infer(*np.load(tmp_path / "images.npy"))
    limited, here = (
        np.linalg.norm(flows[name] - flows["onnxruntime"], axis=-1).mean()
        for name in ("limited", "openvino")
    )
    assert 0 < limited < 1.4 * here
