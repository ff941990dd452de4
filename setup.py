"""Build from the checkout alone, with the compiled kernels; the rest is in pyproject.toml."""

import os
import platform
import shutil
import sys
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

# setuptools takes all paths as relative to the working folder.
os.chdir(Path(__file__).parent)
# `setup.py build_ext`, not pip, which fetches packages first.
ASKED_FOR = "build_ext" in sys.argv


def openvino_package() -> list[str]:
    """Return the package with OpenVINO's headers, where it has one: without it, pip would fail."""
    libc, version = platform.libc_ver()
    oldest = {"x86_64": (2, 28), "aarch64": (2, 35)}.get(platform.machine(), (1000,))
    if libc != "glibc" or tuple(map(int, version.split("."))) < oldest:
        return []
    if sys.implementation.name != "cpython" or sys.version_info >= (3, 15):
        return []
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    return project["optional-dependencies"]["openvino"]


def openvino_operators() -> list[Extension]:
    """Return the operators for OpenVINO, to compile with the headers of its package."""
    spec = find_spec("openvino")
    if spec is None or spec.origin is None:
        return []
    openvino = Path(spec.origin).parent
    libraries = [*openvino.glob("libs/libopenvino.so.*"), *openvino.glob("libs/libtbb.so.*")]
    if not libraries:  # not Linux
        return []
    sources = ("remaining_motion", "planes", "openvino/operators", "openvino/extension")
    return [
        Extension(
            "engine.backends.openvino._operators",
            [f"kernels/{name}.cpp" for name in sources],
            depends=["setup.py", *map(str, Path("kernels").rglob("*.h"))],
            include_dirs=["."],
            extra_compile_args=[
                *("-std=c++17", "-O3", "-g0", "-ffp-contract=off", "-fvisibility=hidden"),
                "-Wno-psabi",  # of functions that are inlined
                f"-isystem{openvino}/include",
                f"-ffile-prefix-map={openvino}/include/=",  # else messages name a folder of pip's
            ],
            # Without a path to them: OpenVINO has loaded these when it loads this one.
            extra_link_args=[
                *("-Wl,--no-undefined", f"-L{openvino}/libs"),
                *(f"-l:{path.name}" for path in libraries),
            ],
            # Without a compiler, standard operators take its place, but not where it was asked for.
            optional=not ASKED_FOR,
        )
    ]


class BuildPy(build_py):
    """Removes what an earlier build has left, which setuptools would put into the wheel, too."""

    def run(self) -> None:
        """Build in an empty folder."""
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


class BuildLibraries(build_ext):
    """Compiles what Python does not load as a module: a library of one name for every Python."""

    def get_ext_filename(self, fullname: str) -> str:
        """Leave out the version of Python."""
        return fullname.replace(".", "/") + ".so"

    def build_extension(self, ext: Extension) -> None:
        """Compile all sources at the same time."""
        compile_in_turn = self.compiler.compile

        def compile_all(sources: Sequence[str], **options: Any) -> list[str]:
            with ThreadPoolExecutor() as pool:
                objects = pool.map(lambda source: compile_in_turn([source], **options), sources)
                return [name for names in objects for name in names]

        self.compiler.compile = compile_all
        super().build_extension(ext)


class Wheel(bdist_wheel):
    """For any Python, and for any platform, too, if there are no operators in it."""

    def get_tag(self) -> tuple[str, str, str]:
        """Look at what was compiled, not at what was to be compiled."""
        compiled = self.get_finalized_command("build_ext").get_outputs()
        self.root_is_pure = not any(map(os.path.exists, compiled))
        return "py3", "none", super().get_tag()[2]


def refinement() -> Extension:
    """Return the kernel of `engine.refinement`."""
    return Extension(
        "engine.refinement._kernel",
        [
            f"kernels/{name}.cpp"
            for name in (
                "refinement_c",
                "refinement",
                "patch_search",
                "phases",
                "variational",
                "workers",
            )
        ],
        depends=["setup.py", *map(str, Path("kernels").glob("*.h"))],
        include_dirs=["."],
        extra_compile_args=[
            *("-std=c++17", "-O3", "-g0", "-ffp-contract=off", "-fvisibility=hidden"),
            *("-fno-math-errno", "-fno-trapping-math"),  # or roots and bounds are not vectorised
        ],
        extra_link_args=["-pthread"],
        optional=not ASKED_FOR,  # numpy takes its place
    )


setup(
    cmdclass={"bdist_wheel": Wheel, "build_ext": BuildLibraries, "build_py": BuildPy},
    ext_modules=[*openvino_operators(), *([refinement()] if os.name == "posix" else [])],
    setup_requires=[] if ASKED_FOR else openvino_package(),
)
