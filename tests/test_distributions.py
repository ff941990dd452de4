"""The wheel and the source distribution, built from a checkout with other files in it."""

import fnmatch
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = PROJECT["tool"]["setuptools"]["packages"]
TOP_LEVEL = {name.partition(".")[0] for name in PACKAGES}
# What setup.py compiles for OpenVINO.
LIBRARY = "engine/backends/openvino/_operators.so"
KERNEL = "engine/refinement/_kernel.so"
# What work leaves in a checkout.
LITTER = [
    "build/litter.so",
    "build/lib/engine/litter.py",
    "dist/litter.whl",
    "engine/__pycache__/litter.pyc",
    "engine/backends/openvino/litter.so",
    "capi/src/litter.o",
    "engine/bundle/default/.litter",
    "engine/web/node_modules/litter.js",
    "kernels/litter.o",
    "runs/slim/litter.pt",
    "shared/litter.png",
    "training/weights/.litter.partial",
]
WEIGHTS = [
    path.relative_to(ROOT).as_posix() for path in (ROOT / "training/weights").glob("*.safetensors")
]
NOT_COPIED = (".git", ".venv", ".*_cache", ".hypothesis", "__pycache__", "*.egg-info", "build",
              "dist", "docs", "node_modules", "runs", "shared", "*.safetensors")  # fmt: skip
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))


def build(kind: str, source: Path, into: Path, **environment: str) -> Path:
    """Build a distribution as pip and `python -m build` do; return its path."""
    code = f"import sys; from setuptools import build_meta; build_meta.build_{kind}(sys.argv[1])"
    command = [sys.executable, "-c", code, into]
    done = subprocess.run(
        command,
        cwd=source,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (built,) = into.iterdir()
    return built


def contents(wheel: Path) -> dict[str, int]:
    """Return the CRC-32 of each file."""
    with zipfile.ZipFile(wheel) as archive:
        return {file.filename: file.CRC for file in archive.infolist()}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Mapping[str, Path]:
    """Build ``sdist``, ``wheel``, ``pure wheel`` and, from the first, ``wheel of sdist``."""
    folder = tmp_path_factory.mktemp("distributions")
    tree = folder / "tree"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*NOT_COPIED))
    for name in LITTER:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).touch()
    for name in WEIGHTS:  # without their 19 MB
        (tree / name).touch()
    (tree / LIBRARY).write_text("of an earlier build")
    sdist = build("sdist", tree, folder / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    return {
        "tree": tree,
        "sdist": sdist,
        "wheel": build("wheel", tree, folder / "wheel"),
        # After the one that leaves a library in build/.
        "pure wheel": build("wheel", tree, folder / "pure-wheel", CC="false", CXX="false"),
        "wheel of sdist": build("wheel", unpacked, folder / "wheel-of-sdist"),
    }


def test_the_wheel_of_the_source_distribution_is_the_same(built):
    assert contents(built["wheel of sdist"]) == contents(built["wheel"])


def test_the_wheel_has_the_library_for_openvino(built):
    assert re.search(r"-py3-none-linux_\w+\.whl$", built["wheel"].name)
    assert LIBRARY in contents(built["wheel"])


def test_without_a_compiler_the_wheel_is_for_any_platform(built):
    assert built["pure wheel"].name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(built["pure wheel"]) as archive:
        (about,) = (name for name in archive.namelist() if name.endswith(".dist-info/WHEEL"))
        assert b"\nRoot-Is-Purelib: true\nTag: py3-none-any\n" in archive.read(about)
    assert contents(built["wheel"]).keys() - contents(built["pure wheel"]).keys() == {
        LIBRARY,
        KERNEL,
    }
    assert contents(built["pure wheel"]).keys() < contents(built["wheel"]).keys()


REQUIRED = """
import platform
from setuptools import build_meta

for machine, *libc in [("x86_64", "glibc", "2.28"), ("aarch64", "glibc", "2.35"),
                       ("aarch64", "glibc", "2.34"), ("x86_64", "", ""), ("arm64", "", "")]:
    platform.machine, platform.libc_ver = lambda: machine, lambda: libc
    print("on", machine, *libc, *build_meta.get_requires_for_build_wheel())
"""


def test_openvino_is_required_where_it_has_a_package(built):
    command = [sys.executable, "-c", REQUIRED]
    output = subprocess.check_output(command, cwd=built["tree"], text=True)
    (pin,) = PROJECT["project"]["optional-dependencies"]["openvino"]
    assert re.findall(r"^on (.*)", output, re.M) == [
        f"x86_64 glibc 2.28 {pin}",
        f"aarch64 glibc 2.35 {pin}",
        "aarch64 glibc 2.34",
        "x86_64  ",
        "arm64  ",
    ]


def test_the_wheel_is_below_10_mb(built):
    assert built["wheel"].stat().st_size < 10e6


def test_the_wheel_has_the_packages_and_the_default_bundle_alone(built):
    info = built["wheel"].name.partition("-py3-")[0] + ".dist-info"
    names = {name for name in contents(built["wheel"]) if not name.startswith(f"{info}/")}
    names -= {LIBRARY, KERNEL}
    modules = {
        path.relative_to(ROOT).as_posix()
        for top in TOP_LEVEL
        for path in (ROOT / top).rglob("*.py")
    }
    assert {name for name in names if name.endswith(".py")} == modules
    folders = ("engine/bundle/default", "engine/web/page")
    data = {path.relative_to(ROOT).as_posix() for one in folders for path in (ROOT / one).iterdir()}
    assert data | {"engine/py.typed"} <= names
    assert [name for name in names if not (ROOT / name).is_file()] == []
    assert f"{info}/licenses/LICENSE" in contents(built["wheel"])


def test_the_source_distribution_has_what_builds_the_rest(built):
    with tarfile.open(built["sdist"]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {
        "CMakeLists.txt",
        "LICENSE",
        "MANIFEST.in",
        "constraints.txt",
        "pyproject.toml",
        "setup.py",
    }
    cmake = "\n".join(path.read_text() for path in (ROOT / "kernels").glob("*.cmake"))
    compiled = {*re.findall(r"(?<!tests/)kernels/[\w/]+\.(?:cpp|cu|map)", cmake)}
    assert {"kernels/correlation_cpu.cpp", "kernels/correlation.cu"} <= compiled
    compiled |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "kernels").rglob("*.cpp")}
    headers = {path.relative_to(ROOT).as_posix() for path in (ROOT / "kernels").rglob("*.*h")}
    library = {path.relative_to(ROOT).as_posix() for path in (ROOT / "capi").rglob("*.*")}
    assert WEIGHTS
    assert needed | compiled | headers | library | {*WEIGHTS} <= names
    allowed = {*TOP_LEVEL, "capi", "docker", "flownet_engine.egg-info"}
    assert {name.partition("/")[0] for name in names if "/" in name} == allowed


@pytest.mark.parametrize("kind", ["sdist", "wheel", "wheel of sdist"])
def test_litter_stays_behind(built, kind):
    if kind == "sdist":
        with tarfile.open(built[kind]) as archive:
            names = [name.partition("/")[2] for name in archive.getnames()]
    else:
        names = list(contents(built[kind]))
    assert [name for name in names if "litter" in name] == []
    assert [name for name in names if name.startswith(("tests", "shared", "build", "runs"))] == []


FROM_THE_WHEEL = """
import sys
sys.modules.update(dict.fromkeys(("torch", "onnx", "safetensors", "cv2", "openvino")))
import numpy as np
import engine
from importlib.metadata import entry_points

assert engine.__file__.startswith(sys.argv[1]), engine.__file__
image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
print(engine.infer(image, image).shape, flush=True)
(flow,) = entry_points(group="console_scripts", name="flow")
sys.argv[1:] = ["doctor"]
flow.load()()
"""


def run(code: str, wheel: Path, folder: Path, *arguments: str | Path) -> str:
    """Run a program with a wheel, unpacked into ``folder``, on its path; return what it prints."""
    site = folder / "site"
    shutil.unpack_archive(wheel, site, "zip")
    done = subprocess.run(
        [sys.executable, "-c", code, site, *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(site), "FLOWNET_ENGINE_CACHE": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_works_without_torch(built, tmp_path):
    printed = run(FROM_THE_WHEEL, built["wheel"], tmp_path)
    assert printed.startswith("(64, 64, 2)\n")
    assert re.search(r"^auto +onnxruntime, in float32", printed, re.M)


WITH_OPENVINO = """
import sys
import numpy as np
import engine
from engine.backends.openvino.operators import operators_of
from engine.backends.openvino.runtime import import_openvino

assert engine.__file__.startswith(sys.argv[1]), engine.__file__
image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
with engine.load(sys.argv[2], backend="openvino") as flow_engine:
    print(flow_engine.infer(image, image).shape)
print(operators_of(import_openvino())[1])
"""


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("wheel", ""),
        ("pure wheel", "they were not compiled when it was installed (docs/install.md)"),
    ],
)
def test_openvino_gets_the_operators_of_the_wheel(built, kind, fault, tmp_path, tiny_bundle):
    printed = run(WITH_OPENVINO, built[kind], tmp_path, tiny_bundle)
    assert printed == f"(64, 64, 2)\n{fault}\n"


def ignored(name: str) -> bool:
    """Whether .dockerignore leaves out a file; the last line that matches decides."""
    result = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!").removeprefix("**/")
        parts = Path(name).parts
        starts = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        if line.startswith("**/"):
            starts = list(parts)
        if not line.startswith("#") and any(fnmatch.fnmatch(one, pattern) for one in starts):
            result = not line.startswith("!")
    return result


def test_docker_gets_what_a_wheel_is_built_from():
    for package in PACKAGES:
        assert not ignored(f"{package.replace('.', '/')}/__init__.py")
    for name in ("LICENSE", "README.md", "constraints.txt", "pyproject.toml", "setup.py"):
        assert not ignored(name)
    for name in ("tests/conftest.py", ".git/config", ".venv/bin/python", "docs/usage.md", *WEIGHTS):
        assert ignored(name)
    assert ignored("engine/__pycache__/engine.pyc")
    assert ignored(LIBRARY)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
class TestDockerfiles:
    def test_the_base_is_pinned_and_the_user_is_not_root(self, path):
        text = path.read_text()
        stages = {name for _, name in re.findall(r"^FROM (\S+) AS (\S+)$", text, re.M)}
        for base, _ in re.findall(r"^FROM (\S+) AS (\S+)$", text, re.M):
            assert base in stages or re.fullmatch(r"[a-z/]+:\d+\.\d+\.\d+-[a-z0-9.-]+", base)
        assert stages == {"build", "runtime", "serve", "flow"}
        assert re.findall(r"^USER (\d+)$", text, re.M) == ["10001"]

    def test_the_compiler_stays_in_the_build_stage(self, path):
        stages = path.read_text().split("\nFROM ")[1:]
        assert [" g++" in stage for stage in stages] == [True, False, False, False]

    def test_packages_are_those_of_the_project(self, path):
        text = path.read_text()
        extras = re.findall(r"'\.\[(.*)\]'", text)
        assert extras
        optional = PROJECT["project"]["optional-dependencies"]
        assert {*",".join(extras).split(",")} <= {*optional}
        known = (ROOT / "Makefile").read_text()
        for name, version in re.findall(r" ([a-z-]+)==([\d.]+)", text):
            assert re.search(rf"{name}(\[.*\])?=={re.escape(version)}", known), name
