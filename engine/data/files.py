"""The files of a pair, and reading them."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from engine.data.pair import Pair, PairsError
from engine.errors import FlowFileError, InputError
from engine.flow.formats import FLOW_SUFFIXES, read_flow
from engine.images import read_image
from engine.types import Array, Image


@dataclass(frozen=True)
class PairFiles:
    """Where the images and the true flow of a pair are stored; ``flow`` is None without one."""

    name: str
    image1: Path
    image2: Path
    flow: Path | None


def require_flows(pairs: Iterable[PairFiles]) -> None:
    """Raise ``PairsError`` that names the first pair without a flow file."""
    for pair in pairs:
        if pair.flow is None:
            raise PairsError(
                f"{pair.image1} has no true flow; expected {pair.name}_flow.* beside it, with a "
                f"suffix of {' '.join(FLOW_SUFFIXES)}: add it or leave the pair out"
            )


def read_pair(files: PairFiles) -> Pair:
    """Read both images and the flow; without a flow file, the flow is unknown everywhere.

    Raises:
        PairsError: A file cannot be decoded, or its size differs from the others'.
        OSError: A file cannot be read.
    """
    image1, image2 = (_read_picture(path) for path in (files.image1, files.image2))
    if image1.shape != image2.shape:
        raise PairsError(
            f"{files.image1} is {_size(image1)} and {files.image2.name} {_size(image2)}; expected "
            "two images of one size: crop or resize one of them"
        )
    if files.flow is None:
        return Pair.without_flow(files.name, image1, image2)
    try:
        flow, _ = read_flow(files.flow)
    except FlowFileError as error:
        raise PairsError(str(error)) from error
    if flow.shape[:2] != image1.shape[:2]:
        raise PairsError(
            f"{files.flow} is {_size(flow)} and its images are {_size(image1)}; expected one "
            "vector for each pixel: write it at their size or remove it"
        )
    return Pair(files.name, image1, image2, flow)


def _read_picture(path: Path) -> Image:
    try:
        return read_image(path)
    except InputError as error:
        raise PairsError(str(error)) from error


def _size(array: Array) -> str:
    return f"{array.shape[0]}x{array.shape[1]}"
