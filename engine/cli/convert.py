"""``flow convert``: flow files from one format to another."""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.cli import common, convert_to_store, flow_files, stores
from engine.cli.outputs import (
    STREAM,
    OutputNames,
    check_folder_name,
    shown,
    write_bytes,
    write_in_folder,
)
from engine.errors import InputError
from engine.flow.formats import FLOW_SUFFIXES, bytes_from_flow, check_flow_format, flow_from_bytes
from engine.flow.formats.kitti import HIGHEST, LOWEST, beyond_range
from engine.flow.validity import known
from engine.store.writer import STORE_SUFFIX
from engine.system.ordered_map import map_in_order
from engine.system.progress import progress_bar
from engine.system.threads import available_threads
from engine.types import Flow

_EPILOG = f"""examples:
  flow convert flow.flo flow.png
  flow convert flows kitti --format .png
  flow convert frames flows --from .flo --format .npz
  flow convert flows flows.zarr
  flow convert flows.zarr kitti --format .png
  flow convert flows.zarr:12 flow.flo
  flow convert - - --format .npy < flow.flo > flow.npy

formats: {", ".join(FLOW_SUFFIXES)} (.png is KITTI's)

Of a folder, the flow files in it and in its folders are converted, in natural order. Flow is read
as float32. The largest difference between what was read and what is written is printed: a .png is
rounded to 1/64 px and ends at -512 and 511.98 px, other formats are exact."""


def add_command(commands: common.Commands) -> None:
    """Add ``convert`` to the parser's commands."""
    parser = common.add_command(
        commands, "convert", run, help="convert flow files to another format", epilog=_EPILOG
    )
    parser.add_argument(
        "input", type=Path, metavar="IN", help="flow file, folder of flow files, or - for stdin"
    )
    parser.add_argument(
        "output", type=Path, metavar="OUT", help="file or folder to write, or - for stdout"
    )
    parser.add_argument(
        "--format",
        type=flow_files.suffix,
        metavar="SUFFIX",
        help="format to write, into a folder or to stdout",
    )
    flow_files.add_from_option(parser)
    stores.add_step_option(parser)
    parser.add_argument(
        "--clip",
        action="store_true",
        help="limit flow to what .png stores, where it is refused otherwise",
    )
    parser.add_argument("--force", action="store_true", help="overwrite files that exist")


@dataclass(frozen=True)
class _Change:
    """What conversions changed.

    Attributes:
        error: largest difference of a component in pixels.
        clipped: number of pixels that were limited to the range of the format.
    """

    error: float = 0.0
    clipped: int = 0

    def __or__(self, other: "_Change") -> "_Change":
        return _Change(max(self.error, other.error), self.clipped + other.clipped)

    def __str__(self) -> str:
        text = f"at most {self.error:.2g} px off" if self.error else "exact"
        if not self.clipped:
            return text
        return f"{text}; {self.clipped} pixels limited to {LOWEST:g} to {HIGHEST:.2f} px"


def run(options: argparse.Namespace) -> int:
    """Run the command; return the exit status."""
    if options.output.suffix.lower() == STORE_SUFFIX:
        return convert_to_store.run(options)
    targets = _targets(options)

    def convert(_: int, job: tuple[Path, Path]) -> _Change:
        return _convert(*job, clip=options.clip, format=options.format)

    changes = map_in_order(convert, targets.items(), threads=available_threads())
    change = _Change()
    with progress_bar("converting", len(targets)) as advance:
        for one in changes:
            change |= one
            advance(None)
    (target, *_), count = targets.values(), len(targets)
    name = shown(target, "stdout") if count == 1 else f"{count} flows to {options.output}"
    out = sys.stderr if options.output == STREAM else sys.stdout
    print(f"wrote {common.printable(name)}: {change}", file=out)
    return 0


def _targets(options: argparse.Namespace) -> dict[Path, Path]:
    """Return the file to write for each file to read, checked."""
    source, output, suffix = options.input, options.output, options.format
    files = flow_files.named(source, options.source)
    into_folder = source.is_dir() or output.is_dir()
    if into_folder:
        check_folder_name(output, FLOW_SUFFIXES)
    if suffix is None and (into_folder or output == STREAM):
        raise InputError(f"{shown(output, 'stdout')} has no format; expected --format, e.g. .flo.")
    names = OutputNames(files, force=options.force)
    if into_folder:
        targets = {path: output / f"{name}{suffix}" for path, name in files.items()}
        names.add_folder(output, targets.values())
        return targets
    if output != STREAM:
        if suffix is not None and not output.suffix:
            raise InputError(
                f"{output} has no suffix, which tells the format of one file; expected {output}"
                f"{suffix}. --format is for folders and stdout."
            )
        check_flow_format(output)
        if suffix not in (None, output.suffix.lower()):
            raise InputError(f"{output} is not {suffix}; expected one format. Leave --format out.")
    names.add(output)
    return {source: output}


def _convert(path: Path, target: Path, *, clip: bool, format: str | None) -> _Change:
    """Convert a file and return what changed."""
    flow = flow_files.read(path)
    if path == STREAM and not known(flow).any():  # of a file, reading it has said so
        print(f"flow: note: {shown(path)}: the flow is unknown everywhere.", file=sys.stderr)
    name = Path(f"stdout{format}") if target == STREAM else target
    clipped = 0
    if name.suffix.lower() == ".png":
        flow, clipped = _within_png(flow, path, clip=clip)
    data = bytes_from_flow(flow, name)
    written, _ = flow_from_bytes(data, name)
    error = np.abs(written - flow).max(where=~np.isnan(flow), initial=0)
    if target == STREAM:
        write_bytes(target, data)
    else:
        write_in_folder(target, data)
    return _Change(float(error), clipped)


def _within_png(flow: Flow, path: Path, *, clip: bool) -> tuple[Flow, int]:
    """Return a flow that a KITTI png stores, and the number of pixels that were limited for it."""
    beyond = int(beyond_range(flow).sum())
    if beyond and not clip:
        raise InputError(
            f"{shown(path)} has {beyond} pixels beyond {LOWEST:g} to {HIGHEST:.2f} px, which a "
            "KITTI png cannot store; expected another format. Choose one, or limit them by --clip."
        )
    return (np.clip(flow, LOWEST, HIGHEST), beyond) if beyond else (flow, 0)
