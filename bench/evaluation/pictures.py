"""Pictures of the pairs with the largest errors."""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.evaluation.results import worst_images
from bench.evaluation.run import TimedEngine
from bench.evaluation.subsets import Subset
from bench.report.pictures import Picture, png_of
from engine.data.files import read_pair
from engine.data.pair import Pair
from engine.flow.colour import flow_to_color
from engine.flow.metrics import endpoint_error, motion
from engine.flow.validity import known
from engine.types import Flow, Image

WIDTH = 512  # of a picture at most, pixels


def worst_pictures(
    result: Mapping[str, Any], subsets: Sequence[Subset], timed: TimedEngine, *, count: int
) -> list[list[Picture]]:
    """Return the pictures of each subset's worst pairs, whose flow is computed again."""
    found = []
    for subset, entry in zip(subsets, result["subsets"], strict=True):
        files = {pair.name: pair for pair in subset.pairs}
        pictures: list[Picture] = []
        for image in worst_images(entry, count):
            pair = read_pair(files[image["name"]])
            flow, _ = timed.flow_of(pair, subset)
            pictures += pictures_of(pair, flow)
        found.append(pictures)
    return found


def pictures_of(pair: Pair, flow: Flow) -> list[Picture]:
    """Return the first image, the true flow, the flow on the same scale, and its error.

    The brightest error is the 99th percentile; pixels without true flow are black.
    """
    valid = pair.valid & known(flow)
    error = endpoint_error(flow, _vectors(pair)).min(axis=0)
    # Not the maxima: a single vector may be an outlier.
    longest, largest = (
        float(np.percentile(values[valid], 99)) for values in (motion(pair.flow), error)
    )
    true, estimated = (
        flow_to_color(each, max_magnitude=longest or None) for each in (pair.flow, flow)
    )
    return [
        Picture(pair.name, "first image", _shown(pair.image1)),
        Picture("True flow", f"full hue: {longest:.1f} px", _shown(true)),
        Picture("Flow", "on the same scale", _shown(estimated)),
        Picture(
            "Error",
            f"mean {error[valid].mean():.2f} px, brightest {largest:.1f} px",
            _shown(_heat(np.where(valid, error, 0) / (largest or 1))),
        ),
    ]


def _vectors(pair: Pair) -> Flow:
    """Return the (K, H, W, 2) true vectors of each pixel."""
    return pair.flow[np.newaxis] if pair.candidates is None else pair.candidates


def _heat(share: NDArray[np.float64]) -> Image:
    """Return a picture of values in 0..1; larger ones are as bright as 1."""
    grey = (255 * share.clip(0, 1)).astype(np.uint8)
    return np.asarray(cv2.applyColorMap(grey, cv2.COLORMAP_INFERNO)[..., ::-1], np.uint8)


def _shown(image: Image) -> bytes:
    height, width = image.shape[:2]
    if width > WIDTH:
        size = WIDTH, max(1, round(height * WIDTH / width))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return png_of(image)
