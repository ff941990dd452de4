"""Build wheels from the checkout alone; the rest is in pyproject.toml."""

import shutil
from importlib.util import find_spec
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_py import build_py


class BuildPy(build_py):
    """Removes what an earlier build has left, which setuptools would put into the wheel, too."""

    def run(self) -> None:
        """Build in an empty folder."""
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


def openvino_operators() -> list[Extension]:
    """Return the operators for OpenVINO, to compile with the headers of its package."""
    spec = find_spec("openvino")
    if spec is None or spec.origin is None:
        return []
    openvino = Path(spec.origin).parent
    # Not linked by path: OpenVINO has loaded these libraries when it loads this one.
    libraries = [
        path for name in ("openvino", "tbb") for path in openvino.glob(f"libs/lib{name}.so*")
    ]
    return [
        Extension(
            "engine.backends.openvino._operators",
            ["kernels/local_motion.cpp", *map(str, Path("kernels/openvino").glob("*.cpp"))],
            include_dirs=["."],
            extra_compile_args=[
                "-std=c++17",
                "-O3",
                "-g0",
                "-ffp-contract=off",
                f"-isystem{openvino}/include",
            ],
            extra_link_args=[f"-L{openvino}/libs", *(f"-l:{path.name}" for path in libraries)],
            optional=True,  # without a compiler, standard operators take their place
        )
    ]


setup(cmdclass={"build_py": BuildPy}, ext_modules=openvino_operators())
