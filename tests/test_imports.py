"""Import rules: `engine` and `kernels` are leaves, and every package may import `engine`."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Which of our packages, and of PyTorch and ONNX, a package may import.
ALLOWED = {
    "kernels": {"torch", "onnx", "onnxscript"},
    "training": {"kernels", "engine", "torch"},
    "export": {"kernels", "training", "engine", "torch", "onnx", "onnxscript"},
    "engine": set[str](),
    "bench": {"engine"},
}
EXCEPTIONS = {
    # PyTorch as a backend.
    "bench/runners/torch.py": {"torch", "training", "export", "kernels"},
    # The benchmark of the operator, and the specification that its results are compared with.
    "bench/correlation/implementations.py": {"torch", "kernels"},
    "bench/correlation/floor.py": {"torch"},
    "bench/correlation/timers.py": {"torch"},
    "bench/correlation/onnx.py": {"kernels"},
    "bench/correlation/problem.py": {"kernels"},
}
WATCHED = set(ALLOWED) | {"torch", "torchvision", "onnx", "onnxscript"}

FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for package in ALLOWED
    for path in (ROOT / package).rglob("*.py")
)
ENGINE_MODULES = [
    name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    for name in FILES
    if name.startswith("engine/")
    # Plug-ins of zarr and of PyInstaller, and what `flow serve` imports when it runs.
    and name
    not in (
        *("engine/store/zarr_codec.py", "engine/pyinstaller/hook-engine.py"),
        *("engine/serving/guard.py", "engine/serving/metrics.py", "engine/serving/app.py"),
        *("engine/serving/connection.py", "engine/serving/server.py"),
    )
]
# What engine modules may use inside functions only.
RUNTIMES = [
    *("torch", "onnx", "onnxruntime", "openvino", "tensorrt", "tensorrt_rtx", "pycuda"),
    *("cv2", "av", "h5py", "numcodecs", "zarr"),
    *("starlette", "uvicorn", "prometheus_client"),
]


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the top-level package of every import in a file, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            yield str(node.module).partition(".")[0]


def run_python(code: str, *arguments: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("file", FILES)
def test_import_rule(file):
    package = file.partition("/")[0]
    found = set(imported(ast.parse((ROOT / file).read_text(encoding="utf-8"))))
    allowed = ALLOWED[package] | EXCEPTIONS.get(file, set()) | {package}
    assert found & WATCHED <= allowed


def test_engine_is_there():
    assert {"engine", "engine.engine", "engine.backends.onnxruntime.backend"} <= set(ENGINE_MODULES)


# Each module first after `engine`, which Python imports before any of them: a circle of imports
# would show.
IMPORT_EACH = """
import importlib, sys, traceback
sys.modules.update(dict.fromkeys(sys.argv[1].split()))  # None: cannot be imported
import engine
always = set(sys.modules)
for module in sys.argv[2:]:
    for loaded in [name for name in sys.modules if name.startswith("engine.")]:
        if loaded not in always:
            parent, _, last = loaded.rpartition(".")
            if parent in sys.modules:
                vars(sys.modules[parent]).pop(last, None)
            del sys.modules[loaded]
    try:
        importlib.import_module(module)
    except Exception:
        print(module, traceback.format_exc(limit=-1))
"""


def test_engine_imports_without_torch_or_any_runtime():
    assert run_python(IMPORT_EACH, " ".join(RUNTIMES), *ENGINE_MODULES) == ""


def test_engine_pulls_numpy_and_the_standard_library_only():
    code = (
        "import sys; before = set(sys.modules); import engine\n"
        "names = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(*sorted(names - set(sys.stdlib_module_names)))"
    )
    assert run_python(code).split() == ["engine", "numpy"]
