"""Which CPUs compute int8 correctly in OpenVINO, and what runs on the others."""

import os
import platform
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from engine.backends.openvino import backend as openvino_backend
from engine.backends.registry import open_backend
from engine.bundle.manifest import read_manifest
from engine.errors import HardwareMissingError
from engine.system import cpu
from engine.system.cpu import ONEDNN_LIMIT, int8_fault, runs_amx
from tests.support.cpu import run_with_limit

LINUX_X86 = sys.platform == "linux" and platform.machine() == "x86_64"


@pytest.fixture
def cpuinfo(monkeypatch):
    """Replace /proc/cpuinfo by a CPU named "Old" with the given flags, without a limit."""
    monkeypatch.delenv(ONEDNN_LIMIT, raising=False)
    read = Path.read_text

    def write(flags):
        text = f"processor\t: 0\nmodel name\t: Old\n{flags}\n"
        monkeypatch.setattr(
            Path,
            "read_text",
            lambda self, *rest, **more: (
                text if str(self) == "/proc/cpuinfo" else read(self, *rest, **more)
            ),
        )

    return write


@pytest.mark.parametrize(
    ("flags", "fault"),
    [
        ("flags\t\t: fpu avx2 avx512f", "Old has no VNNI, so int8 sums would saturate"),
        ("flags\t\t: fpu avx2 avx_vnni", None),
        ("flags\t\t: fpu avx512_vnni avx512f", None),
        ("Features\t: fp asimd asimddp", None),  # Arm
        ("", None),  # unknown
    ],
)
def test_int8_needs_vnni(cpuinfo, flags, fault):
    cpuinfo(flags)
    assert int8_fault() == fault


@pytest.mark.parametrize("limit", ["AVX512_CORE_FP16", "AVX512_CORE_VNNI", "AVX10_1_512"])
def test_int8_needs_amx_that_runs_where_it_is_listed(cpuinfo, monkeypatch, limit):
    cpuinfo("flags : fpu avx512_vnni amx_tile")
    monkeypatch.setattr(cpu, "runs_amx", lambda: True)
    assert int8_fault() is None
    monkeypatch.setattr(cpu, "runs_amx", lambda: False)
    assert int8_fault() == (
        "Old lists AMX but does not execute it; "
        f"set {ONEDNN_LIMIT}=AVX512_CORE_FP16 before the process starts"
    )
    monkeypatch.setenv(ONEDNN_LIMIT, limit)
    assert int8_fault() is None


# A convolution of the largest int8 products: two of them exceed 16 bits.
LARGEST_PRODUCTS = """
import sys
import numpy as np
import openvino
from openvino import opset13 as ops
from engine.system.cpu import int8_fault

fault = int8_fault()
if fault and "AMX" in fault:
    sys.exit(print("skip", fault))
source = ops.parameter((1, 32, 8, 8), np.uint8)
low, high = np.float32(0), np.float32(255)
data = ops.fake_quantize(ops.convert(source, "f32"), low, high, low, high, 256)
values = ops.convert(ops.constant(np.full((32, 32, 3, 3), 127, np.int8)), "f32")
weights = ops.multiply(values, ops.constant(np.ones((32, 1, 1, 1), np.float32)))
result = ops.convolution(data, weights, [1, 1], [0, 0], [0, 0], [1, 1])
model = openvino.Model([result], [source])
compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
product = compiled([np.full((1, 32, 8, 8), 255, np.uint8)])[0]
print("exact" if (product == 32 * 9 * 127 * 255).all() else "saturated", fault)
"""


@pytest.mark.skipif(not LINUX_X86, reason="oneDNN's limits are for x86-64")
@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("SSE41", "saturated"),
        ("avx2", "saturated"),
        ("AVX2_VNNI", None),
        ("AVX512_CORE", "saturated"),
        ("AVX512_CORE_VNNI", None),
        ("ALL", None),
    ],
)
def test_openvino_computes_int8_exactly_just_where_there_is_no_fault(limit, expected):
    """``expected`` is None where it depends on the CPU."""
    pytest.importorskip("openvino", reason="openvino is an optional extra")
    found, fault = run_with_limit(limit, LARGEST_PRODUCTS).strip().split(" ", 1)
    if found == "skip":
        pytest.skip(fault)
    assert found == (expected or found)
    assert (found == "exact") == (fault == "None"), fault


@pytest.fixture
def openvino_and_auto(tiny_bundle):
    """Open the tiny bundle by these backends as if it were of the given precision."""
    pytest.importorskip("openvino", reason="openvino is an optional extra")

    def opened(precision):
        manifest = replace(read_manifest(tiny_bundle), precision=precision)
        names = []
        for name in ("openvino", "auto"):
            backend = open_backend(name, tiny_bundle, manifest, device=0, threads=1)
            names.append(backend.name)
            backend.close()
        return names

    return opened


def test_openvino_runs_int8_where_the_cpu_does(openvino_and_auto, monkeypatch):
    monkeypatch.setattr(openvino_backend, "int8_fault", lambda: None)
    before = dict(os.environ)
    assert openvino_and_auto("int8") == ["openvino", "openvino"]
    assert dict(os.environ) == before


def test_openvino_refuses_int8_alone_where_the_cpu_does_not(openvino_and_auto, monkeypatch):
    monkeypatch.setattr(openvino_backend, "int8_fault", lambda: "Old has no VNNI")
    with pytest.raises(
        HardwareMissingError, match=r"int8 bundle: Old has no VNNI\. Use backend onnxruntime.* fp32"
    ):
        openvino_and_auto("int8")
    assert openvino_and_auto("fp32") == ["openvino", "openvino"]


def test_the_default_bundle_runs_without_vnni():
    """By another backend, and ``flow doctor`` prints why."""
    pytest.importorskip("openvino", reason="openvino is an optional extra")
    code = """
import numpy as np
import engine
from engine.cli.main import main

with engine.load(threads=1) as loaded:
    flow = loaded.infer(*np.zeros((2, 64, 64, 3), np.uint8))
print(loaded.backend.name, flow.shape)
main(["doctor"])
"""
    used, *report = run_with_limit("AVX2", code).splitlines()
    assert used == "onnxruntime (64, 64, 2)"
    (refused,) = (line for line in report if line.split()[0] == "openvino")
    assert re.search(r"no .* has no VNNI.*, so int8 sums would saturate", refused)
    assert report[-1].split() == ["auto", "onnxruntime"]


@pytest.mark.skipif(not LINUX_X86, reason="AMX is of x86-64")
def test_amx_does_not_run_where_it_is_not_listed():
    if "amx_tile" in cpu.cpu_flags():
        pytest.skip("the CPU lists AMX")
    assert not runs_amx()


@pytest.mark.parametrize(
    ("executable", "frozen"), [(None, False), ("", False), ("/no/python", False), ("true", True)]
)
def test_amx_is_not_used_where_no_python_can_try_it(monkeypatch, executable, frozen):
    """``true`` stands for a frozen program: it succeeds with any arguments."""
    monkeypatch.setattr(sys, "executable", executable)
    monkeypatch.setattr(sys, "frozen", frozen, raising=False)
    assert not runs_amx.__wrapped__()  # the cache keeps the real result


def test_amx_is_not_used_where_the_trial_does_not_end(monkeypatch):
    def run(command, *, timeout, **_):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", run)
    assert not runs_amx.__wrapped__()
