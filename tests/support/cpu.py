"""Tests that depend on the CPU: skip them, or run Python as on a CPU without VNNI."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.system.cpu import ONEDNN_LIMIT, amx_fault, cpu_flags

ROOT = Path(__file__).parents[2]

# For what would end the process where AMX is listed only.
needs_int8 = pytest.mark.skipif(
    bool(amx_fault()), reason=f"OpenVINO cannot compute int8 here: {amx_fault()}"
)
needs_avx512_vnni = pytest.mark.skipif(
    "avx512_vnni" not in cpu_flags(), reason="the CPU has no AVX512-VNNI"
)


def run_with_limit(limit: str, code: str, *arguments: str) -> str:
    """Run Python code in a process whose oneDNN is limited to ``limit``; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env={**os.environ, ONEDNN_LIMIT: limit},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
