"""Pictures of the flows for the report."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.data import PairSet
from bench.harness.measure import Outcome
from engine.data.resize import resize_pair
from engine.flow.colour import flow_to_color


@dataclass(frozen=True)
class Picture:
    """A PNG for the report; ``title`` is also its alternative text."""

    title: str
    caption: str
    png: bytes


def pictures_of(outcomes: Sequence[Outcome], pairs: PairSet) -> list[Picture]:
    """Return the first image, the true flow, and each network's and algorithm's flow.

    At the first size. All flows have the scale of the true flow: equal colours are equal motions.
    """
    shown = _first_per_network(outcomes)
    if not shown:
        return []
    row = outcomes[0].row
    pair = next(pairs.read())
    if row.size is not None:
        pair = resize_pair(pair, *row.size)
    lengths = np.hypot(pair.flow[..., 0], pair.flow[..., 1])[pair.valid]
    # Not the maximum: a single vector may be an outlier.
    scale = float(np.percentile(lengths, 99)) if lengths.size else 0.0
    longest = f"pure hue: {scale:.1f} px; black: unknown" if scale else "each on its own scale"

    def coloured(flow: NDArray[np.float32]) -> bytes:
        return png_of(flow_to_color(flow, max_magnitude=scale or None))

    return [
        Picture("First image", "{}, {}x{}".format(pair.name, *pair.size), png_of(pair.image1)),
        Picture("True flow", longest, coloured(pair.flow)),
        *(
            Picture(outcome.row.network, _caption(outcome), coloured(outcome.first_flow))
            for outcome in shown
            if outcome.first_flow is not None
        ),
    ]


def _first_per_network(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return the first row with a flow of each network, at the first row's size."""
    found: dict[str, Outcome] = {}
    first = outcomes[0].row
    for outcome in outcomes:
        if outcome.row.size == first.size and outcome.first_flow is not None:
            found.setdefault(outcome.row.network, outcome)
    return list(found.values())


def _caption(outcome: Outcome) -> str:
    epe = outcome.entry["epe"]
    name = f"{outcome.row.backend} {outcome.row.precision}"
    return f"{name}, no EPE" if epe is None else f"{name}, EPE {epe:.2f} px"


def png_of(image: NDArray[np.uint8]) -> bytes:
    """Return an RGB picture as a PNG file."""
    _, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return bytes(data.tobytes())
