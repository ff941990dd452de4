"""libflow_engine, built once for all processes of a run."""

import fcntl
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.support.c_library import ROOT, Library, run

# One unit to compile, without optimisation: a few seconds.
QUICK = ("-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_UNITY_BUILD=ON", "-DCMAKE_UNITY_BUILD_BATCH_SIZE=15")


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build folder; other processes wait for the one that builds.

    FLOW_ENGINE_BUILD names one to test instead, for example with other backends.
    """
    if built := os.environ.get("FLOW_ENGINE_BUILD"):
        return Path(built)
    pytest.importorskip("openvino")
    cmake = shutil.which("cmake")
    if cmake is None:
        pytest.skip("no cmake")
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # shared by the workers
    folder, options = base / "capi", [f"-DPython3_EXECUTABLE={sys.executable}", *QUICK]
    if root := os.environ.get("ONNXRUNTIME_ROOT"):
        options += ["-DFLOW_ENGINE_ONNXRUNTIME=ON", f"-DONNXRUNTIME_ROOT={root}"]
    with (base / "capi.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            run(cmake, "-S", ROOT / "capi", "-B", folder, "-DFLOW_ENGINE_TESTS=ON", *options)
            output = run(cmake, "--build", folder, "--parallel", "2")
            assert "warning:" not in output, output
            (folder / "done").touch()
    return folder


@pytest.fixture(scope="session")
def library(build: Path) -> Library:
    """The library, through ctypes."""
    return Library(build / "libflow_engine.so")
