"""The C library's TensorRT backend with a double of TensorRT and CUDA, no GPU.

TENSORRT_ROOT names the folder whose include/ has TensorRT's headers. The library, the double and
the program are compiled with AddressSanitizer, which looks for leaks too, and with
UndefinedBehaviorSanitizer.
"""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from engine.backends.tensorrt.package import PLUGIN_LIBRARY
from engine.bundle.manifest import Manifest, write_manifest
from engine.bundle.schema import Recurrence
from tests.capi.conftest import QUICK, ROOT, run
from tests.support.tiny_network import manifest_for
from tests.support.unused_calls import unused_calls

HERE = Path(__file__).parent / "tensorrt"
SANITIZE = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
WARN = ["-Wall", "-Wextra", "-Werror"]


@pytest.fixture(scope="module")
def headers() -> Path:
    root = os.environ.get("TENSORRT_ROOT")
    if not root:
        pytest.skip("TENSORRT_ROOT is not set: it names a folder with TensorRT's headers")
    return Path(root) / "include"


@pytest.fixture(scope="module")
def cuda_headers() -> Path:
    root = os.environ.get("CUDA_ROOT", "/usr/local/cuda")
    if not (Path(root) / "include/cuda_runtime_api.h").is_file():
        pytest.skip("no CUDA headers: CUDA_ROOT names the folder of the toolkit")
    return Path(root) / "include"


@pytest.fixture(scope="module")
def program(headers: Path, cuda_headers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test program, linked with the library and the double."""
    cmake, compiler = shutil.which("cmake"), shutil.which("c++")
    if cmake is None or compiler is None:
        pytest.skip("no cmake or C++ compiler")
    folder = tmp_path_factory.mktemp("tensorrt")
    roots = {"TENSORRT_ROOT": headers, "CUDA_ROOT": cuda_headers}
    for name, include in roots.items():
        (folder / name / "lib").mkdir(parents=True)
        (folder / name / "include").symlink_to(include.resolve())
    compile_ = [compiler, "-std=c++17", *SANITIZE, *WARN, f"-I{HERE}", f"-I{folder}",
                "-isystem", headers, "-isystem", cuda_headers]  # fmt: skip
    (folder / "unused_calls.h").write_text(unused_classes(headers))
    double = folder / "libdouble.so"
    sources = [HERE / "nvinfer_double.cpp", HERE / "cuda_double.cpp"]
    run(*compile_, "-Wno-unused-parameter", "-shared", "-fPIC", "-Wl,-soname,libdouble.so",
        *sources, "-o", double)  # fmt: skip
    for name in ("TENSORRT_ROOT/lib/libnvinfer.so", "CUDA_ROOT/lib/libcudart.so"):
        (folder / name).symlink_to(double)
    build = folder / "build"
    run(cmake, "-S", ROOT / "capi", "-B", build, *QUICK, "-DFLOW_ENGINE_OPENVINO=OFF",
        "-DFLOW_ENGINE_TENSORRT=ON", f"-DCMAKE_CXX_FLAGS={' '.join([*SANITIZE, '-Werror'])}",
        *[f"-D{name}={folder / name}" for name in roots])  # fmt: skip
    run(cmake, "--build", build, "--parallel", "2")
    libraries = [build / "libflow_engine.so", double, "-pthread"]
    paths = [f"-Wl,-rpath,{build}", f"-Wl,-rpath,{folder}"]
    run(*compile_, f"-I{ROOT / 'capi/include'}", HERE / "program.cpp", *libraries, *paths,
        "-o", folder / "program")  # fmt: skip
    return folder / "program"


def unused_classes(headers: Path) -> str:
    """Return the functions of TensorRT's abstract classes that the double does not have."""
    common = (headers / "NvInferRuntimeCommon.h").read_text()
    runtime = (headers / "NvInferRuntime.h").read_text()
    registry = runtime if "\nclass IPluginRegistry\n" in runtime else common
    implementation = (headers / "NvInferImpl.h").read_text()
    internal = ["VRuntime", "VCudaEngine", "VExecutionContext"]
    return "\n".join(
        [
            "#include <NvInferRuntime.h>\n#include <cstdlib>",
            '#pragma GCC diagnostic ignored "-Wdeprecated-declarations"',
            unused_calls(implementation, internal, "nvinfer1::apiv"),
            unused_calls(registry, ["IPluginRegistry"], "nvinfer1"),
        ]
    )


def write_bundle(folder: Path, *files: str, **changes: object) -> None:
    """Write a bundle of network tiny in fp16 with these files, which hold their kind's name."""
    folder.mkdir()
    for name in files:
        (folder / name).write_text("library" if name.endswith(".so") else "plan")
    manifest = manifest_for(folder, "fp16")
    stated = {
        "model.plan": {"tool": "tensorrt 11.0.0.1", "compute_capability": "9.0"},
        PLUGIN_LIBRARY: {"precision": None},
    }
    listed = {name: replace(file, **stated.get(name, {})) for name, file in manifest.files.items()}
    changed: Manifest = replace(manifest, files=listed, **changes)
    write_manifest(folder, changed)


@pytest.fixture
def bundles(tmp_path: Path) -> Path:
    updates = Recurrence(iterations=12, lookup="on_the_fly", stride=8)
    write_bundle(tmp_path / "plan", "model.plan")
    write_bundle(tmp_path / "changed", "model.plan")
    (tmp_path / "changed/model.plan").write_text("pLan")
    write_bundle(tmp_path / "none", "model.onnx")
    write_bundle(tmp_path / "recurrent", "model.plan", recurrence=updates)
    write_bundle(tmp_path / "plugin", "model.plan", PLUGIN_LIBRARY)
    return tmp_path


def test_contract(program: Path, bundles: Path) -> None:
    assert run(program, bundles).endswith("\nok\n")
