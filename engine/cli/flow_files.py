"""Flow files that are named one by one or by their folder."""

import argparse
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from engine.cli import stores
from engine.cli.outputs import STREAM, read_stdin, shown
from engine.data.listing import list_files, list_folders
from engine.errors import InputError, nearest
from engine.flow.formats import FLOW_SUFFIXES, flow_from_bytes, read_flow
from engine.types import Flow


def suffix(text: str) -> str:
    """Return the suffix of a flow format, for ``type=`` of argparse; ``png`` is ``.png``."""
    found = f".{text.lower().removeprefix('.')}"
    if found not in FLOW_SUFFIXES:
        raise argparse.ArgumentTypeError(
            f"unknown flow format {text!r}; expected one of {', '.join(FLOW_SUFFIXES)}."
            f"{nearest(found, FLOW_SUFFIXES)}"
        )
    return found


def add_from_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that chooses among the files of a folder, as ``source``."""
    parser.add_argument(
        "--from",
        dest="source",
        type=suffix,
        metavar="SUFFIX",
        help="which files of a folder to read, e.g. .flo (default: all flow files)",
    )


def read(path: Path) -> Flow:
    """Return the flow of a file or of stdin, (H, W, 2) float32 pixels, NaN where it is unknown.

    Raises:
        FlowFileError: It is not a flow.
        InputError: The file does not exist, or is a folder.
        OSError: The file cannot be read.
    """
    if path == STREAM:
        return flow_from_bytes(read_stdin(), shown(path))[0]
    if stores.is_address(path):
        return stores.read(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; expected a flow file.")
    if path.is_dir():
        raise InputError(f"{path} is a folder; expected a flow file.")
    return read_flow(path)[0]


def name_of(path: Path) -> str:
    """Return the name of a file, or of a flow in a store, without suffix."""
    return stores.name_of(path) if stores.is_address(path) else path.stem


def in_folder(folder: Path, source: str | None) -> dict[Path, str]:
    """Return the flow files of a folder and, after them, of the folders in it, in natural order.

    Args:
        folder: the folder; or a store, of which the addresses of its flows are returned.
        source: suffix of the files; None: of any flow format.

    Returns:
        The name of each: its path relative to the folder without suffix, with ``/``.

    Raises:
        InputError: There is none.
    """
    if stores.is_store(folder):
        return stores.flows_in(folder)
    suffixes = FLOW_SUFFIXES if source is None else (source,)
    found = {
        path: path.relative_to(folder).with_suffix("").as_posix()
        for path in _walk(folder, suffixes)
    }
    if not found:
        raise InputError(f"{folder} contains no flow file; expected some: {', '.join(suffixes)}.")
    return found


def by_name(folder: Path, source: str | None) -> dict[str, Path]:
    """Return the files of `in_folder` by their names.

    Raises:
        InputError: There is none, or two differ only in their suffix.
    """
    found: dict[str, Path] = {}
    for path, name in in_folder(folder, source).items():
        other = found.setdefault(name, path)
        if other != path:
            raise InputError(
                f"{folder} contains {other.name} and {path.name}; expected one flow of each name. "
                f"Choose one format: --from {path.suffix.lower()}."
            )
    return found


def named(source: Path, suffix: str | None) -> dict[Path, str]:
    """Return a file, or those of a folder, with the name of each; see `in_folder` and `by_name`."""
    if source.is_dir():
        return {path: name for name, path in by_name(source, suffix).items()}
    return {source: "stdin" if source == STREAM else name_of(source)}


def _walk(folder: Path, suffixes: Collection[str]) -> Iterator[Path]:
    yield from list_files(folder, suffixes)
    for inner in list_folders(folder):
        if not os.path.islink(inner):
            yield from _walk(inner, suffixes)
