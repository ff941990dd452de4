"""Build wheels from the checkout alone; the rest is in pyproject.toml."""

import shutil

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildPy(build_py):
    """Removes what an earlier build has left, which setuptools would put into the wheel, too."""

    def run(self) -> None:
        """Build in an empty folder."""
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


setup(cmdclass={"build_py": BuildPy})
