"""Flow files that are named one by one or by their folder."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from engine.cli.outputs import STREAM, read_bytes, shown
from engine.data.listing import list_files, list_folders
from engine.errors import InputError
from engine.flow.formats import FLOW_SUFFIXES, flow_from_bytes, read_flow
from engine.types import Flow


def read(path: Path) -> Flow:
    """Return the flow of a file or of stdin, (H, W, 2) float32 pixels, NaN where it is unknown.

    Raises:
        FlowFileError: It is not a flow.
        InputError: The file does not exist, or is a folder.
        OSError: The file cannot be read.
    """
    if path == STREAM:
        return flow_from_bytes(read_bytes(path), shown(path))[0]
    if not path.exists():
        raise InputError(f"{path} does not exist; expected a flow file.")
    if path.is_dir():
        raise InputError(f"{path} is a folder; expected a flow file.")
    return read_flow(path)[0]


def in_folder(folder: Path, suffixes: Collection[str] = FLOW_SUFFIXES) -> dict[str, Path]:
    """Return the flow files of a folder and of the folders in it, in natural order.

    Args:
        folder: its files and, after them, its folders are searched.
        suffixes: of the files, in lower case.

    Returns:
        The paths, by the path relative to the folder without suffix, with ``/`` between its parts.

    Raises:
        InputError: There is none, or two differ only in their suffix.
    """
    found: dict[str, Path] = {}
    for path in _walk(folder, suffixes):
        name = path.relative_to(folder).with_suffix("").as_posix()
        other = found.setdefault(name, path)
        if other != path:
            raise InputError(
                f"{folder} contains {other.name} and {path.name}; expected one flow of each name. "
                f"Choose one format: --from {path.suffix.lower()}."
            )
    if not found:
        raise InputError(f"{folder} contains no flow file; expected some: {', '.join(suffixes)}.")
    return found


def _walk(folder: Path, suffixes: Collection[str]) -> Iterator[Path]:
    yield from list_files(folder, suffixes)
    for inner in list_folders(folder):
        if not os.path.islink(inner):
            yield from _walk(inner, suffixes)
