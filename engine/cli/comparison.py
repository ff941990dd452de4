"""The errors of flows, image by image, and how ``flow eval`` prints them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.cli import common
from engine.errors import InputError
from engine.flow.figures import FIGURES, over_images, over_pixels
from engine.flow.regions import SUMS, Scores, error_sums, scores
from engine.flow.validity import known
from engine.types import Flow

# Of `engine.flow.regions.REGIONS`; the others need masks.
_REGIONS = ("all", "s0-10", "s10-40", "s40+")
_FIGURES = [figure for figure in FIGURES if figure.region in _REGIONS]


class Comparison:
    """Collects the errors of images.

    Attributes:
        unpredicted: number of pixels with true but no predicted flow, by image.
    """

    def __init__(self) -> None:
        """Start without any."""
        self.unpredicted: dict[str, int] = {}
        self._sums: list[NDArray[np.float64]] = []

    def add(self, name: str, flow: Flow, truth: Flow, files: tuple[str, str]) -> None:
        """Add an image.

        Args:
            name: in the results.
            flow: (H, W, 2) float32 pixels, NaN where it is unknown.
            truth: likewise.
            files: of both, for error messages.

        Raises:
            InputError: Sizes differ, or no pixel is known in both.
        """
        if flow.shape != truth.shape:
            sizes = ["{}x{}".format(*each.shape) for each in (flow, truth)]
            raise InputError(
                f"{files[0]} is {sizes[0]} and {files[1]} is {sizes[1]}; expected one size. "
                "Compare flows of the same images."
            )
        predicted, labelled = known(flow), known(truth)
        for file, mask in zip(files, (predicted, labelled), strict=True):
            if not mask.any():
                raise InputError(f"{file} is unknown everywhere; expected a flow. Leave it out.")
        if not (predicted & labelled).any():
            raise InputError(
                f"{files[0]} and {files[1]} are known at different pixels only; expected some in "
                "common. Leave them out."
            )
        self._sums.append(error_sums(flow, np.where(predicted[..., np.newaxis], truth, np.nan)))
        self.unpredicted[name] = int((labelled & ~predicted).sum())

    def to_json(self) -> dict[str, Any]:
        """Return the scores of all pixels, their means over the images, and those of each image."""
        each = [scores(sums) for sums in self._sums]
        return {
            "per_pixel": _by_region(over_pixels(self._sums)),
            "per_image": {
                region: {
                    score: over_images(image[region][score] for image in each) for score in SUMS[1:]
                }
                for region in _REGIONS
            },
            "images": [
                {"name": name, "unpredicted": pixels, **_by_region(found)}
                for (name, pixels), found in zip(self.unpredicted.items(), each, strict=True)
            ],
        }

    def lines(self) -> list[str]:
        """Return a table: the images and, of several, all pixels and the means of the images."""
        each = [scores(sums) for sums in self._sums]
        found = {
            common.printable(name): [figure.of(one) for figure in _FIGURES]
            for name, one in zip(self.unpredicted, each, strict=True)
        }
        if len(each) > 1:
            total = over_pixels(self._sums)
            found["all pixels"] = [figure.of(total) for figure in _FIGURES]
            found[f"mean of {len(each)} images"] = [
                over_images(map(figure.of, each)) for figure in _FIGURES
            ]
        titles, units = zip(*((figure.title, figure.unit) for figure in _FIGURES), strict=True)
        rows = [(name, *map(_text, values)) for name, values in found.items()]
        return common.aligned([("", *titles), ("", *units), *rows])


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _by_region(found: dict[str, Scores]) -> dict[str, Scores]:
    return {region: found[region] for region in _REGIONS}
