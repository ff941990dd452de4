"""Pairs with ground truth: a stereo pair, rendered pairs, or a folder; at any size."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.environment import fingerprint, run_module
from engine.errors import InputError
from engine.flow.formats import read_flow
from engine.images import read_image

SYNTHETIC_SIZE = "384x512"
# Training counts its seeds up from a small one and is validated from 2_000_000_000 on: a table must
# show pairs of neither.
SYNTHETIC_SEED = 3_000_000_000


@dataclass(frozen=True)
class Pair:
    """Two RGB images and the flow from the first to the second.

    Attributes:
        name: what to call it in a report.
        image1, image2: (H, W, 3) uint8 RGB.
        flow: (H, W, 2) float32, pixels, x then y; NaN where not valid.
        valid: (H, W) bool.
    """

    name: str
    image1: NDArray[np.uint8]
    image2: NDArray[np.uint8]
    flow: NDArray[np.float32]
    valid: NDArray[np.bool_]


@dataclass(frozen=True)
class PairSet:
    """Pairs of one kind, and where they came from."""

    name: str
    source: str
    pairs: tuple[Pair, ...]
    available: int

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "source": self.source,
            "pairs": [pair.name for pair in self.pairs],
            "available": self.available,
            "sizes": sorted({"{}x{}".format(*pair.valid.shape) for pair in self.pairs}),
        }


def load_pairs(name: str, *, limit: int, cache: Path) -> PairSet:
    """Load ``motorcycle``, ``synthetic``, or a folder in Flying Chairs layout.

    Args:
        name: one of the two names, or a path.
        limit: at most so many pairs, spread evenly over the set.
        cache: folder for rendered pairs.

    Raises:
        FileNotFoundError: no such folder, nothing in it, or a part of a pair is missing.
        InputError: an image cannot be read, or parts of a pair differ in size.
    """
    if name == "motorcycle":
        pair, source = motorcycle()
        return PairSet(name, source, (pair,), 1)
    if name == "synthetic":
        folder = _synthetic_folder(limit, cache=cache)
        source = f"python -m training.synthetic, {SYNTHETIC_SIZE}, seed {SYNTHETIC_SEED}"
    else:
        folder, source = Path(name), f"folder {Path(name).name}"
    names = _pair_names(folder)
    chosen = [
        names[i * len(names) // min(limit, len(names))] for i in range(min(limit, len(names)))
    ]
    return PairSet(name, source, tuple(_read_pair(folder, stem) for stem in chosen), len(names))


def motorcycle() -> tuple[Pair, str]:
    """Middlebury 2014 stereo pair "Motorcycle" at a quarter of its size, from scikit-image.

    Right of a rectified pair is the left with every pixel moved left by its disparity, so the flow
    is (-disparity, 0) wherever the disparity is known.
    """
    # Only this pair needs the package.
    import skimage.data

    left, right, disparity = skimage.data.stereo_motorcycle()  # type: ignore[no-untyped-call]
    valid = np.isfinite(disparity)
    flow = np.full((*disparity.shape, 2), np.nan, np.float32)
    flow[valid] = np.stack((-disparity[valid], np.zeros_like(disparity[valid])), axis=-1)
    return Pair("motorcycle", left, right, flow, valid), "scikit-image, Middlebury 2014 stereo"


def resize_pair(pair: Pair, height: int, width: int) -> Pair:
    """Resize images, flow and mask; the flow is scaled with each axis.

    The flow at a new pixel is the mean over the valid old ones below it; the pixel is valid if at
    least half of what lies below it was.
    """
    if pair.valid.shape == (height, width):
        return pair
    old_height, old_width = pair.valid.shape
    # INTER_AREA averages when shrinking and would repeat pixels when enlarging.
    shrinks = height <= old_height and width <= old_width

    def resized(image: NDArray[Any]) -> NDArray[Any]:
        mode = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        result: NDArray[Any] = cv2.resize(image, (width, height), interpolation=mode)
        return result

    weight = resized(pair.valid.astype(np.float32))
    total = resized(np.where(pair.valid[..., None], pair.flow, 0).astype(np.float32))
    valid = weight >= 0.5
    flow = np.full((height, width, 2), np.nan, np.float32)
    scale = np.array([width / old_width, height / old_height], np.float32)
    flow[valid] = total[valid] / weight[valid][:, None] * scale
    return Pair(pair.name, resized(pair.image1), resized(pair.image2), flow, valid)


def _synthetic_folder(count: int, *, cache: Path) -> Path:
    key = fingerprint(sources=["training/**/*.py"])
    folder = cache / f"synthetic-{SYNTHETIC_SIZE}-{SYNTHETIC_SEED}-{count}-{key}"
    if not folder.is_dir():
        # Renamed when complete, so that a killed run leaves nothing that looks finished.
        partial = folder.with_suffix(".partial")
        options = {"--pairs": count, "--size": SYNTHETIC_SIZE, "--seed": SYNTHETIC_SEED}
        flags = [str(part) for option in options.items() for part in option]
        run_module("training.synthetic", *flags, "-o", str(partial))
        partial.rename(folder)
    return folder


def _pair_names(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no data set {str(folder)!r}; expected 'motorcycle', 'synthetic' or a folder of "
            "<id>_img1.ppm, <id>_img2.ppm, <id>_flow.flo."
        )
    names = sorted(path.name.removesuffix("_img1.ppm") for path in folder.glob("*_img1.ppm"))
    if not names:
        raise FileNotFoundError(
            f"{folder} holds no <id>_img1.ppm; expected the layout of Flying Chairs: "
            "<id>_img1.ppm, <id>_img2.ppm, <id>_flow.flo."
        )
    return names


def _read_pair(folder: Path, stem: str) -> Pair:
    image1, image2 = (_read_part(folder / f"{stem}_img{i}.ppm", read_image) for i in (1, 2))
    flow, valid = _read_part(folder / f"{stem}_flow.flo", read_flow)
    sizes = ["{}x{}".format(*array.shape) for array in (image1, image2, flow)]
    if len(set(sizes)) > 1:
        raise InputError(
            f"{folder / stem}_*: images of {sizes[0]} and {sizes[1]}, and a flow of {sizes[2]}; "
            "expected one size."
        )
    return Pair(stem, image1, image2, flow, valid)


def _read_part(path: Path, read: Callable[[Path], Any]) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; each pair needs its two images and its flow.")
    return read(path)
