"""Which files a machine without a network needs, and how pip gets each of them."""

import json
import re
import tarfile
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import Version

from bench.packages import PipError, constraints, run_pip

# Names of manylinux from before its numbers were glibc's (PEP 600); pip takes each for another.
ALIASES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


@dataclass(frozen=True)
class Target:
    """The machine without a network: for instance ``"3.12"``, glibc 2.``28``, ``"x86_64"``."""

    python: str
    glibc: int
    architecture: str

    def __str__(self) -> str:
        return f"Python {self.python} on {self.platform}"

    @property
    def platform(self) -> str:
        return f"manylinux_2_{self.glibc}_{self.architecture}"

    @property
    def pip_options(self) -> list[str]:
        """What limits pip to wheels that run there; it matches each platform's name exactly."""
        names = [f"manylinux_2_{minor}" for minor in range(self.glibc, 4, -1)]
        names += [alias for minor, alias in ALIASES.items() if minor <= self.glibc]
        platforms = [f"--platform={name}_{self.architecture}" for name in names]
        return ["--only-binary=:all:", f"--python-version={self.python}", *platforms]

    @property
    def markers(self) -> dict[str, str]:
        """The variables of environment markers (PEP 508) there."""
        return {
            **{name: str(value) for name, value in default_environment().items()},
            "implementation_name": "cpython",
            "os_name": "posix",
            "platform_machine": self.architecture,
            "platform_python_implementation": "CPython",
            "platform_system": "Linux",
            "python_full_version": f"{self.python}.0",
            "python_version": self.python,
            "sys_platform": "linux",
        }


@dataclass(frozen=True)
class Release:
    """A version of a distribution: what it requires, and whether all there is of it is source."""

    name: str
    version: str
    requires: tuple[str, ...]
    is_source: bool

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"


def all_releases(wanted: Sequence[str], target: Target, downloads: Path) -> list[Release]:
    """Everything that has to be in the bundle, each once.

    pip resolves for the Python that it runs in; what only the target needs is resolved after that,
    and so is what the source archives need to be built.
    """
    known: dict[str, Release] = {}
    lacking = list(wanted)
    while lacking:
        for release in resolve(lacking):
            known.setdefault(release.name, release)
        sources = [release for release in known.values() if release.is_source]
        roots = [*wanted]
        for release in sources:
            roots += build_requirements(download(release, target, downloads))
        needed, lacking = reachable(roots, known, target.markers)
    return needed


def resolve(wanted: Sequence[str]) -> list[Release]:
    """Ask pip for the versions of requirements and of all they require, within our pins."""
    with tempfile.TemporaryDirectory() as folder:
        pins, report = Path(folder, "constraints.txt"), Path(folder, "report.json")
        pins.write_text(constraints())
        options = ["--dry-run", "--ignore-installed", "--quiet", "--constraint", str(pins)]
        run_pip(["install", *options, "--report", str(report), *wanted])
        found = json.loads(report.read_text())["install"]
    return [
        Release(
            name=canonicalize_name(item["metadata"]["name"]),
            version=item["metadata"]["version"],
            requires=tuple(item["metadata"].get("requires_dist", ())),
            is_source=not item["download_info"]["url"].partition("#")[0].endswith(".whl"),
        )
        for item in found
    ]


def reachable(
    roots: Sequence[str], known: Mapping[str, Release], markers: Mapping[str, str]
) -> tuple[list[Release], list[str]]:
    """What ``roots`` need on the target, and the requirements among it that nobody resolved."""
    needed: dict[str, Release] = {}
    lacking: list[str] = []
    seen: set[tuple[str, str]] = set()
    queue = [(Requirement(root), extra) for root in roots for extra in _extras(root)]
    for requirement, extra in queue:  # grows while it is read
        name = canonicalize_name(requirement.name)
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        if name not in known:
            requirement.marker = None  # it was found true, for the target
            lacking.append(str(requirement))
            continue
        needed[name] = known[name]
        for text in known[name].requires:
            marker = Requirement(text).marker
            if marker is None or marker.evaluate({**markers, "extra": extra}):
                queue += [(Requirement(text), each) for each in _extras(text)]
    return sorted(needed.values(), key=str), list(dict.fromkeys(lacking))


def _extras(requirement: str) -> list[str]:
    return ["", *Requirement(requirement).extras]


def build_requirements(archive: Path) -> list[str]:
    """What building a source archive needs: PEP 518, with its default."""
    with tarfile.open(archive) as content:
        for member in content:
            if re.fullmatch(r"[^/]+/pyproject\.toml", member.name):
                file = content.extractfile(member)
                system = tomllib.loads(file.read().decode()).get("build-system") if file else None
                if system:
                    return [str(each) for each in system["requires"]]
    return ["setuptools", "wheel"]


def download(release: Release, target: Target, folder: Path) -> Path:
    """Download a release into ``folder`` unless it is there; returns the file.

    Raises:
        PipError: it cannot be had, for this target.
    """
    for file in folder.iterdir():
        if _is_of(release, file):
            return file
    kind = ["--no-binary", release.name] if release.is_source else target.pip_options
    with tempfile.TemporaryDirectory(dir=folder, prefix=".partial-") as partial:
        command = ["download", "--quiet", "--no-deps", "--dest", partial]
        try:
            run_pip([*command, *kind, str(release)])
        except PipError as error:
            raise type(error)(f"{release} for {target}: {error}") from error
        (file,) = Path(partial).iterdir()
        print(f"{file.name}, {file.stat().st_size / 1e6:.1f} MB", flush=True)
        return file.rename(folder / file.name)


def _is_of(release: Release, file: Path) -> bool:
    try:
        name, version = (
            parse_sdist_filename(file.name)
            if release.is_source
            else parse_wheel_filename(file.name)[:2]
        )
    except (InvalidSdistFilename, InvalidWheelFilename):
        return False
    return (name, version) == (release.name, Version(release.version))
