"""Resizing a pair together with its flow."""

import numpy as np

from engine.data.pair import Pair
from engine.types import Array


def resize_pair(pair: Pair, height: int, width: int) -> Pair:
    """Resize both images, (H, W, 3), and the flow, whose values are scaled with each axis.

    The flow of a new pixel is the mean over the valid old pixels below it; it is known if at least
    half of them are valid.
    """
    if pair.size == (height, width):
        return pair
    import cv2  # an optional dependency

    old_height, old_width = pair.size
    # INTER_AREA averages when shrinking; when enlarging it repeats pixels.
    shrinks = height <= old_height and width <= old_width

    def resized(image: Array) -> Array:
        mode = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        result: Array = cv2.resize(image, (width, height), interpolation=mode)
        return result

    old_valid = pair.valid
    weight = resized(old_valid.astype(np.float32))
    total = resized(np.where(old_valid[..., None], pair.flow, 0).astype(np.float32))
    valid = weight >= 0.5
    flow = np.full((height, width, 2), np.nan, np.float32)
    scale = np.array([width / old_width, height / old_height], np.float32)
    flow[valid] = total[valid] / weight[valid][:, None] * scale
    return Pair(pair.name, resized(pair.image1), resized(pair.image2), flow)
