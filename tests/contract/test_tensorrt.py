"""The TensorRT backend's calls checked against the real bindings, without a GPU.

The cases run in one process per package: the bindings of ``tensorrt`` need stub libraries, which
must not shadow an installed TensorRT in other tests.
"""

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine.cuda import libcuda
from engine.cuda.device import CU_STREAM_NON_BLOCKING
from engine.cuda.foreign_arrays import LEGACY_DEFAULT_STREAM
from engine.cuda.libcuda import FUNCTIONS
from kernels import library
from kernels.tensorrt_plugin.aot import PTX

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CASES = ["opening_cases.py", "running_cases.py", "device_cases.py", "stream_cases.py"]
BINDINGS = {"tensorrt": "tensorrt_bindings", "tensorrt_rtx": "tensorrt_rtx"}


# tensorrt_rtx builds for real, in tests/export/test_engine_from_onnx.py.
@pytest.mark.parametrize(
    ("package", "cases"),
    [
        ("tensorrt", [*CASES, "build_cases.py"]),
        ("tensorrt_rtx", [*CASES, "runtime_cache_cases.py"]),
    ],
)
def test_contract(package, cases):
    run_cases(package, cases)


def test_plugin_contract():
    if not (library.directory() / PTX).is_file():
        pytest.skip(f"no {PTX} in {library.directory()}: run `make kernels` where nvcc is")
    run_cases("tensorrt", ["plugin_cases.py"])


def run_cases(package, cases):
    if importlib.util.find_spec(BINDINGS[package]) is None:
        pytest.skip(f"{BINDINGS[package]} is not installed")
    if package == "tensorrt" and not (shutil.which("cc") or shutil.which("gcc")):
        pytest.skip("no C compiler for the stub libraries")
    plugins = [
        "-p",
        "no:cacheprovider",
        "-p",
        "no:hypothesispytest",
    ]  # importing hypothesis takes a second
    command = [sys.executable, "-m", "pytest", "-q", *plugins, *cases]
    environment = {**os.environ, "TENSORRT_PACKAGE": package}
    done = subprocess.run(
        command, cwd=HERE, env=environment, text=True, capture_output=True, timeout=600
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


@pytest.mark.parametrize("module", ["engine.backends.tensorrt.backend", "engine.cuda.device"])
def test_imports_without_tensorrt_and_pycuda(module):
    missing = "sys.modules.update(dict.fromkeys(('tensorrt', 'tensorrt_rtx', 'pycuda', 'torch')))"
    command = [sys.executable, "-c", f"import sys; {missing}; import {module}"]
    subprocess.run(command, cwd=ROOT, check=True)


def test_functions_match_cuda_h(tmp_path):
    """A C compiler checks names, arguments and constants against the toolkit's cuda.h."""
    include = _cuda_include()
    if include is None or not shutil.which("cc"):
        pytest.skip("no cuda.h, or no C compiler")
    c_types = {
        ctypes.c_void_p: "void *",
        ctypes.POINTER(ctypes.c_void_p): "void **",
        ctypes.c_int: "int",
        ctypes.c_uint: "unsigned int",
        ctypes.c_ulonglong: "unsigned long long",
        ctypes.POINTER(ctypes.c_char_p): "const char **",
    }
    constants = {name: value for name, value in vars(libcuda).items() if name.startswith("CU")}
    constants |= {"CU_STREAM_NON_BLOCKING": CU_STREAM_NON_BLOCKING}
    constants |= {"(long)CU_STREAM_LEGACY": LEGACY_DEFAULT_STREAM}
    lines = ["#include <cuda.h>"]
    lines += [f'_Static_assert({name} == {value}, "");' for name, value in constants.items()]
    for index, (name, argument_types) in enumerate(FUNCTIONS.items()):
        arguments = ", ".join(f"({c_types[t]})0" for t in argument_types)
        lines.append(f"int f{index}(void) {{ return {name.removesuffix('_v2')}({arguments}); }}")
    source = tmp_path / "functions.c"
    source.write_text("\n".join(lines) + "\n")
    # Errors are a pointer for a number or too few arguments, but not a void ** for a CUgraph *.
    flags = ["-Wall", "-Werror", "-Wno-incompatible-pointer-types", f"-I{include}"]
    command = ["cc", *flags, "-c", source.name]
    done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    # cuda.h maps names to versions (cuStreamBeginCapture to ..._v2): the object file has those.
    symbols = source.with_suffix(".o").read_bytes()
    for name in FUNCTIONS:
        assert b"\0" + name.encode() + b"\0" in symbols, name


def _cuda_include() -> Path | None:
    nvcc = shutil.which("nvcc")
    homes = [os.environ.get("CUDA_HOME"), "/usr/local/cuda", nvcc and Path(nvcc).parents[1]]
    folders = (Path(home) / "include" for home in homes if home)
    return next((folder for folder in folders if (folder / "cuda.h").is_file()), None)
