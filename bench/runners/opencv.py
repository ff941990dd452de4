"""Runner of OpenCV's classical optical flow, the alternative to a network."""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.harness.worker import Job

Gray = NDArray[np.uint8]

DIS_PRESETS = {
    "dis_ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "dis_fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "dis_medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}


class OpenCVRunner:
    """One algorithm, on the pairs of a batch one after the other.

    The time includes the conversion from colour to grey.
    """

    device = "cpu"
    runtime_version = str(cv2.__version__)

    def __init__(self, algorithm: Callable[[Gray, Gray], Any], *, threads: int) -> None:
        cv2.setNumThreads(threads)
        self._algorithm = algorithm

    def run(self, image1: NDArray[np.uint8], image2: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.stack(
            [
                self._algorithm(
                    cv2.cvtColor(first, cv2.COLOR_RGB2GRAY),
                    cv2.cvtColor(second, cv2.COLOR_RGB2GRAY),
                )
                for first, second in zip(image1, image2, strict=True)
            ]
        )

    def device_ms(self) -> None:
        return None

    def close(self) -> None:
        pass


def open_algorithm(job: Job) -> OpenCVRunner:
    """Dense inverse search (arXiv 1603.03590) with a preset, or Farneback's algorithm."""
    if job.network == "farneback":
        return OpenCVRunner(_farneback, threads=job.threads)
    search: Any = cv2.DISOpticalFlow.create(DIS_PRESETS[job.network])
    # A flow as third argument would be the initial flow.
    return OpenCVRunner(lambda first, second: search.calc(first, second, None), threads=job.threads)


def _farneback(first: Gray, second: Gray) -> NDArray[np.float32]:
    # The parameters of OpenCV's tutorial (samples/python/tutorial_code/video/optical_flow).
    compute: Any = cv2.calcOpticalFlowFarneback
    flow: NDArray[np.float32] = compute(first, second, None, 0.5, 3, 15, 3, 5, 1.2, 0)
    return flow
