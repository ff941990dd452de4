"""Which CPUs compute int8 correctly in OpenVINO, and what runs on the others."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from engine.system import cpu
from engine.system.cpu import ONEDNN_LIMIT, amx_fault, int8_instructions, runs_amx, vnni_fault
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


NO_VNNI = "Old has no VNNI, so int8 sums would saturate"


@pytest.mark.parametrize(
    ("flags", "instructions", "fault"),
    [
        ("flags\t\t: fpu avx2", "AVX2", NO_VNNI),
        ("flags\t\t: fpu avx2 avx512f avx512bw", "AVX-512", NO_VNNI),
        ("flags\t\t: fpu avx2 avx_vnni", "VNNI", None),
        ("flags\t\t: fpu avx2 avx512_vnni avx512bw", "VNNI", None),
        ("flags\t\t: fpu sse4_1 avx", None, NO_VNNI),
        ("Features\t: fp asimd asimddp", None, NO_VNNI),  # Arm
        ("", None, NO_VNNI),  # unknown
    ],
)
def test_what_int8_is_computed_with(cpuinfo, flags, instructions, fault):
    cpuinfo(flags)
    assert int8_instructions() == instructions
    assert vnni_fault() == fault
    assert amx_fault() is None


@pytest.mark.parametrize(
    ("limit", "instructions"),
    [
        ("sse41", None),
        ("AVX2", "AVX2"),
        ("AVX2_VNNI", "AVX2"),
        ("AVX512_CORE", "AVX-512"),
        ("AVX512_CORE_VNNI", "VNNI"),
        ("ALL", "AMX"),
    ],
)
def test_onednn_can_be_limited(cpuinfo, monkeypatch, limit, instructions):
    cpuinfo("flags : fpu avx2 avx512bw avx512_vnni amx_tile")
    monkeypatch.setenv(ONEDNN_LIMIT, limit)
    assert int8_instructions() == instructions
    if instructions == "AVX2":
        assert vnni_fault() == (
            f"Old has no VNNI under {ONEDNN_LIMIT}={limit}, so int8 sums would saturate"
        )


@pytest.mark.parametrize("limit", ["AVX512_CORE_FP16", "AVX512_CORE_VNNI", "AVX10_1_512"])
def test_int8_needs_amx_that_runs_where_it_is_listed(cpuinfo, monkeypatch, limit):
    cpuinfo("flags : fpu avx512_vnni amx_tile")
    monkeypatch.setattr(cpu, "runs_amx", lambda: True)
    assert amx_fault() is None
    monkeypatch.setattr(cpu, "runs_amx", lambda: False)
    assert amx_fault() == (
        "Old lists AMX but does not execute it; "
        f"set {ONEDNN_LIMIT}=AVX512_CORE_FP16 before the process starts"
    )
    monkeypatch.setenv(ONEDNN_LIMIT, limit)
    assert amx_fault() is None


# Convolutions of the largest int8 products. Of weights of 127, two exceed 16 bits.
LARGEST_PRODUCTS = """
import sys
import numpy as np
import openvino
from openvino import opset13 as ops
from engine.system.cpu import SAFE_INT8_WEIGHT, amx_fault, vnni_fault

if fault := amx_fault():
    sys.exit(print("skip", fault))
for weight in (SAFE_INT8_WEIGHT, -SAFE_INT8_WEIGHT, 127):
    source = ops.parameter((1, 32, 8, 8), np.uint8)
    low, high = np.float32(0), np.float32(255)
    data = ops.fake_quantize(ops.convert(source, "f32"), low, high, low, high, 256)
    values = ops.convert(ops.constant(np.full((32, 32, 3, 3), weight, np.int8)), "f32")
    weights = ops.multiply(values, ops.constant(np.ones((32, 1, 1, 1), np.float32)))
    result = ops.convolution(data, weights, [1, 1], [0, 0], [0, 0], [1, 1])
    model = openvino.Model([result], [source])
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    product = compiled([np.full((1, 32, 8, 8), 255, np.uint8)])[0]
    print("exact" if (product == 32 * 9 * weight * 255).all() else "saturated", end=" ")
print(vnni_fault())
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
    *found, fault = run_with_limit(limit, LARGEST_PRODUCTS).strip().split(" ", 3)
    if found[0] == "skip":
        pytest.skip(fault)
    assert found == ["exact", "exact", expected or found[2]]
    assert (found[2] == "exact") == (fault == "None"), fault


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
