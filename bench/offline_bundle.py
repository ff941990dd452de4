"""Gather what ``make gpu`` needs, for a machine without a network.

python -m bench.offline_bundle -o build/offline
python -m bench.offline_bundle -o build/offline --python 3.12 --without-cuda --part-size 50MB

The bundle (``bench.offline_parts``) has everything but PyTorch in the versions that pyproject.toml
and constraints.txt name: wheels, and source archives of what has none, with what these need to be
built. There, ``make gpu WHEELS=DIR`` installs what is missing, ``sh DIR/install.sh`` all of it.
What was downloaded is kept until the bundle is complete: the same command goes on where it ended.
"""

import errno
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.cli import Parser, UsageError
from bench.offline_parts import write_bundle
from bench.offline_releases import Target, all_releases, download
from bench.packages import PipError, requirements

DOWNLOADS = ".download"
UNITS = {"kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "MiB": 2**20, "GiB": 2**30}


@dataclass(frozen=True)
class Options:
    """What is asked for; ``part_size`` in bytes."""

    output: Path
    target: Target
    part_size: int
    cuda_libraries: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, 1 (something cannot be had) or 2 (the request makes no sense)."""
    try:
        options = parse_options(arguments)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        prepare(options)
    except (PipError, ValueError, OSError) as error:
        full = isinstance(error, OSError) and error.errno == errno.ENOSPC
        advice = "; free some space, or give another folder with -o" if full else ""
        print(f"error: {error}{advice}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    print(f"next: copy {options.output} there, then: make gpu WHEELS={options.output.name}")
    return 0


def parse_options(arguments: Sequence[str] | None) -> Options:
    """Read the command line.

    Raises:
        UsageError: a value makes no sense.
    """
    parser = Parser(
        prog="python -m bench.offline_bundle",
        description="Gather what `make gpu` needs beside PyTorch, for a machine without a network.",
    )
    add = parser.add_argument
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    add("-o", "--output", type=Path, required=True, metavar="DIR", help="the bundle's folder")
    add("--python", default=running, metavar="3.N", help=f"version there; default: {running}")
    add("--platform", default="manylinux_2_28_x86_64", metavar="P",
        help="default: manylinux_2_28_x86_64")  # fmt: skip
    add("--part-size", default="50MB", metavar="SIZE", help="at most so much a part; default: 50MB")
    add("--without-cuda", action="store_true", help="leave out ONNX Runtime's CUDA libraries, "
        "which a CUDA build of PyTorch brings as well")  # fmt: skip
    given = parser.parse_args(arguments)
    return Options(
        output=given.output,
        target=_target(given.python, given.platform),
        part_size=_bytes(given.part_size),
        cuda_libraries=not given.without_cuda,
    )


def _target(python: str, platform: str) -> Target:
    if not re.fullmatch(r"3\.[0-9]{1,2}", python):
        raise UsageError(f"--python {python}: expected a version of Python like 3.12")
    match = re.fullmatch(r"manylinux_2_([0-9]{1,2})_([a-z0-9_]+)", platform)
    if not match:
        raise UsageError(f"--platform {platform}: expected one like manylinux_2_28_x86_64")
    return Target(python, int(match[1]), match[2])


def _bytes(text: str) -> int:
    match = re.fullmatch(r"([1-9][0-9]{0,5})([A-Za-z]+)", text)
    if not match or match[2] not in UNITS:
        raise UsageError(f"--part-size {text}: expected a number and {', '.join(UNITS)}: 50MB")
    return int(match[1]) * UNITS[match[2]]


def prepare(options: Options) -> None:
    """Download, split, and remove what is then no longer needed.

    Raises:
        PipError: something cannot be downloaded.
        ValueError: the parts are too small.
        OSError: a file cannot be written.
    """
    target = options.target
    downloads = options.output / DOWNLOADS / f"{target.python}-{target.platform}"
    downloads.mkdir(parents=True, exist_ok=True)
    wanted = requirements(cuda_libraries=options.cuda_libraries)
    print(f"resolving {len(wanted)} requirements for {target}", flush=True)
    releases = all_releases(wanted, target, downloads)
    print(f"{len(releases)} files in all", flush=True)
    files = [download(release, target, downloads) for release in releases]
    parts = write_bundle(
        files,
        options.output,
        limit=options.part_size,
        requirements=wanted,
        python=target.python,
    )
    shutil.rmtree(options.output / DOWNLOADS)
    total = sum(file.stat().st_size for file in options.output.glob("part-*/*")) / 1e6
    print(f"{len(files)} files in {parts} parts, {total:.0f} MB: {options.output}")


if __name__ == "__main__":
    sys.exit(main())
