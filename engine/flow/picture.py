"""A picture of one flow: its colours, the legend, and below them the distribution of its motion."""

import numpy as np

from engine.flow.colour import flow_to_color
from engine.flow.histogram import MagnitudeHistogram
from engine.flow.legend import Legend
from engine.flow.metrics import motion
from engine.flow.scale import color_scale, three_digits
from engine.flow.statistics import FlowStatistics
from engine.images.files import import_opencv
from engine.types import Flow, Image

_ROW = 18  # height of a line of the histogram, pixels
_LABEL = 110  # width of what is written before the bars, pixels
_SHARE = 70  # width of what is written after the longest bar, pixels
_NARROWEST = 240  # pictures narrower than this get no histogram: its text would not fit


def own_scale(flow: Flow) -> float:
    """Return the magnitude in pixels of full saturation for one picture; see `color_scale`."""
    seen = MagnitudeHistogram()
    seen.add(motion(flow))
    return three_digits(color_scale(seen))


def flow_picture(flow: Flow, max_magnitude: float, *, legend: bool = True) -> Image:
    """Return a colour-coded picture of a flow, (H, W, 3) uint8 RGB.

    Args:
        flow: (H, W, 2) float32 in pixels, x then y. Unknown flow is black.
        max_magnitude: magnitude in pixels that gets full saturation; larger flow is darkened.
        legend: whether to draw the colour wheel and its scale into a corner, if the picture has
            space for it; see `Legend`.

    Raises:
        BackendNotInstalledError: The legend is asked for, and OpenCV is not installed.
        InputError: ``flow`` or ``max_magnitude`` is invalid.
    """
    picture = flow_to_color(flow, max_magnitude=max_magnitude)
    if legend:
        Legend(*flow.shape[:2]).draw(picture, max_magnitude)
    return picture


def with_histogram(picture: Image, statistics: FlowStatistics) -> Image:
    """Return a picture with the histogram of `FlowStatistics.classes` below it, on white.

    Pictures narrower than 240 px are returned as they are.

    Args:
        picture: (H, W, 3) uint8 RGB.
        statistics: of its flow.

    Raises:
        BackendNotInstalledError: OpenCV is not installed.
    """
    classes, width = statistics.classes(), picture.shape[1]
    if width < _NARROWEST or not classes:
        return picture
    cv2 = import_opencv()
    panel = np.full(((len(classes) + 1) * _ROW, width, 3), 255, np.uint8)
    longest = max(share for _, share in classes)
    for number, (label, share) in enumerate(classes, 1):
        bottom = number * _ROW + 3
        end = _LABEL + round((width - _LABEL - _SHARE) * share / longest)
        panel[bottom - 12 : bottom, _LABEL:end] = 90
        for text, left in ((label, 6), (f"{share:.1%}", end + 6)):
            cv2.putText(
                *(panel, text, (left, bottom - 1), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0)),
                lineType=cv2.LINE_AA,
            )
    return np.concatenate([picture, panel])
