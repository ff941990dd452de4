"""The files of a pair, and reading them."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from engine.data.pair import Pair, PairsError, unknown_flow
from engine.errors import FlowFileError, InputError
from engine.flow.formats import FLOW_SUFFIXES, read_flow
from engine.flow.validity import Mask, known
from engine.images import read_image
from engine.types import Array, Flow, Image


class Picture(Protocol):
    """An image that is no file of its own, as a frame of a video."""

    @property
    def name(self) -> str:
        """For messages."""
        ...

    def read(self) -> Image:
        """Return the image; raises ``InputError`` if it cannot be read."""
        ...


@dataclass(frozen=True)
class PairFiles:
    """Where the images, the true flow and the masks of a pair are stored; None without one.

    Attributes:
        name: unique in its data set, and the path of its result in a submission without suffix.
        image1: a picture file, or another picture.
        image2: likewise.
        flow: a flow file.
        occlusion: a picture, white where a pixel of the first image is hidden in the second.
        invalid: a picture, white where the flow is not to be trusted.
        flow_noc: a flow file that is known only where a pixel is visible in both images.
        foreground: a picture of numbered moving objects, black where there is none.
        sequence: the scene; pairs of one scene follow each other in time.
        vectors_per_side: size of the flow in sizes of the image; each pixel has its square of
            vectors, in pixels of the image.
    """

    name: str
    image1: Path | Picture
    image2: Path | Picture
    flow: Path | None
    occlusion: Path | None = None
    invalid: Path | None = None
    flow_noc: Path | None = None
    foreground: Path | None = None
    sequence: str | None = None
    vectors_per_side: int = 1


def require_flows(pairs: Iterable[PairFiles]) -> None:
    """Raise ``PairsError`` that names the first pair without a flow file."""
    for pair in pairs:
        if pair.flow is None:
            raise PairsError(
                f"{pair.image1} has no true flow; expected {Path(pair.name).name}_flow.* beside "
                f"it, with a suffix of {' '.join(FLOW_SUFFIXES)}, or a data set with flow: add it "
                "or leave the pair out"
            )


def read_pair(files: PairFiles) -> Pair:
    """Read both images, the flow and the masks; without a flow file, it is unknown everywhere.

    Raises:
        PairsError: A file cannot be decoded, or its size differs from the others'.
        OSError: A file cannot be read.
    """
    image1, image2 = map(_read_picture, (files.image1, files.image2))
    if image1.shape != image2.shape:
        raise PairsError(
            f"{files.image1} is {_size(image1)} and {files.image2.name} {_size(image2)}; expected "
            "two images of one size: crop or resize one of them"
        )
    size = image1.shape[:2]
    flow, candidates = _read_truth(files, image1)
    occluded = _read_mask(files.occlusion, size)
    if files.flow_noc is not None:
        occluded = known(flow) & ~known(_read_flow(files.flow_noc, size))
    foreground, invalid = (_read_mask(path, size) for path in (files.foreground, files.invalid))
    return Pair(files.name, image1, image2, flow, occluded, foreground, invalid, candidates)


def _read_truth(files: PairFiles, image: Image) -> tuple[Flow, Flow | None]:
    """Read the flow and, if a pixel has several, all of its vectors."""
    if files.flow is None:
        return unknown_flow(image), None
    step = files.vectors_per_side
    flow = _read_flow(files.flow, image.shape[:2], step)
    if step == 1:
        return flow, None
    candidates = np.stack([flow[y::step, x::step] for y in range(step) for x in range(step)])
    first = candidates[0].copy()
    first[np.isnan(candidates).any(axis=(0, -1))] = np.nan
    return first, candidates


def _read_flow(path: Path, size: tuple[int, ...], step: int = 1) -> Flow:
    try:
        flow, _ = read_flow(path)
    except FlowFileError as error:
        raise PairsError(str(error)) from error
    if flow.shape[:2] != (step * size[0], step * size[1]):
        vectors = "one vector" if step == 1 else f"{step}x{step} vectors"
        raise PairsError(
            f"{path} is {_size(flow)} and its images are {size[0]}x{size[1]}; expected {vectors} "
            "for each pixel: write it at their size or remove it"
        )
    return flow


def _read_mask(path: Path | None, size: tuple[int, ...]) -> Mask | None:
    if path is None:
        return None
    mask: Mask = np.asarray(_read_picture(path).any(axis=-1))
    if mask.shape != size:
        raise PairsError(
            f"{path} is {_size(mask)} and its images are {size[0]}x{size[1]}; expected one value "
            "for each pixel: write it at their size or remove it"
        )
    return mask


def _read_picture(picture: Path | Picture) -> Image:
    try:
        return read_image(picture) if isinstance(picture, Path) else picture.read()
    except InputError as error:
        raise PairsError(str(error)) from error


def _size(array: Array) -> str:
    return f"{array.shape[0]}x{array.shape[1]}"
