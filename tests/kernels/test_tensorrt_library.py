"""The TensorRT plugin library: what it exports, and that a plugin registry takes it.

TENSORRT_ROOT names the folder whose include/ has TensorRT's headers; no GPU and no TensorRT library
is needed.
"""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
EXPORTS = {"getCreators", "setLoggerFinder", "flow_correlation_tensorrt_creator"}


def checked(*command: str | Path) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="session")
def cmake() -> str:
    path = shutil.which("cmake")
    if path is None:
        pytest.skip("no cmake")
    return path


@pytest.fixture(scope="session")
def build(cmake: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    headers = os.environ.get("TENSORRT_ROOT")
    if not headers:
        pytest.skip("TENSORRT_ROOT is not set: it names a folder with TensorRT's headers")
    if shutil.which("nvcc") is None:
        pytest.skip("no nvcc")
    folder = tmp_path_factory.mktemp("tensorrt")
    # PTX of one architecture: the kernels do not run here.
    checked(cmake, "-S", ROOT, "-B", folder, f"-DTENSORRT_ROOT={headers}",
            "-DCMAKE_CUDA_ARCHITECTURES=80-virtual")  # fmt: skip
    output = checked(cmake, "--build", folder, "--target",
                     "flow_correlation_tensorrt", "correlation_tensorrt_test")  # fmt: skip
    assert "warning" not in output, output
    return folder


@pytest.fixture(scope="session")
def library(build: Path) -> Path:
    return build / "libflow_correlation_tensorrt.so"


def test_exports_what_the_registry_looks_for_and_nothing_else(library: Path) -> None:
    lines = checked("nm", "-D", "--defined-only", library).splitlines()
    assert {line.split()[-1] for line in lines} == EXPORTS


def test_loads_without_tensorrt(library: Path) -> None:
    loaded = ctypes.CDLL(str(library), mode=os.RTLD_NOW | os.RTLD_LOCAL)
    loaded.getCreators.restype = ctypes.POINTER(ctypes.c_void_p)
    count = ctypes.c_int32()
    creators = loaded.getCreators(ctypes.byref(count))
    assert count.value == 1
    assert creators[0]


def test_plugin(build: Path) -> None:
    checked("ctest", "--test-dir", build, "-R", "correlation_tensorrt", "--output-on-failure")


def test_a_registry_loads_it(library: Path) -> None:
    # TensorRT for RTX has TensorRT's registry, and needs no GPU for it.
    trt = pytest.importorskip("tensorrt_rtx")
    registry = trt.Builder(trt.Logger()).get_plugin_registry()
    handle = registry.load_library(str(library))
    assert handle is not None
    creator = registry.get_creator("correlation", "1", "flow")
    values = [np.array([20], np.int32), np.array([2], np.int32)]
    fields = [
        trt.PluginField(field.name, value, trt.PluginFieldType.INT32)
        for field, value in zip(creator.field_names, values, strict=True)
    ]
    collection = trt.PluginFieldCollection(fields)
    assert creator.create_plugin("layer", collection, trt.TensorRTPhase.BUILD) is not None


def search_for_headers(cmake: str, *options: str) -> subprocess.CompletedProcess[str]:
    # In script mode CMake comes no further than this search. PATH: find_path looks beside it, too.
    command = [cmake, *options, "-P", str(ROOT / "kernels" / "tensorrt.cmake")]
    return subprocess.run(command, capture_output=True, text=True, env={"PATH": ""})


def test_a_root_without_headers_is_refused(cmake: str, tmp_path: Path) -> None:
    done = search_for_headers(cmake, f"-DTENSORRT_ROOT={tmp_path}")
    assert done.returncode != 0
    text = " ".join(done.stderr.split())
    assert f"No NvInferRuntime.h in TENSORRT_ROOT={tmp_path} or its include/." in text
    assert "Set TENSORRT_ROOT to the folder of TensorRT 10 or newer" in text


def test_no_headers_and_no_root_is_said(cmake: str) -> None:
    done = search_for_headers(cmake)
    assert done.returncode == 0, done.stderr
    assert "the TensorRT plugin library is not built" in done.stdout
