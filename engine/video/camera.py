"""Frames of a camera, by OpenCV: always the newest one."""

import contextlib
import itertools
import math
import queue
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from engine.errors import InputError
from engine.images.files import import_opencv
from engine.types import Image
from engine.video.frame import Frame
from engine.video.thinning import Thinning

_TIME_BASE = Fraction(1, 1000)  # seconds
_USUAL_RATE = 30  # frames per second, for cameras that state none
_PATIENCE = 10  # seconds without a frame


class Camera:
    """The frames of a camera; a `FrameSource` and context manager.

    A thread reads frames as they come and keeps the newest: whoever is slower than the camera
    misses frames instead of falling behind.

    Attributes:
        path: ``camera <number>``.
        height: of the frames, in pixels.
        width: of the frames, in pixels.
        begin: time of the first frame, 0.
        rate: number of frames per second, as the camera states it.
        time_base: unit of the times, 1 ms.
        expected_frames: None, as nobody knows.
        live: True.
    """

    expected_frames: int | None = None
    live = True

    def __init__(
        self, number: int, *, end: float | None = None, stride: int = 1, fps: float | None = None
    ) -> None:
        """Open a camera and wait for its first frame.

        Args:
            number: 0 for the first camera.
            end: seconds after which no frame is read; None: as long as the camera sends them.
            stride: N; only every N-th frame is used.
            fps: largest number of frames per second; None: no limit. See `Thinning`.

        Raises:
            BackendNotInstalledError: OpenCV is not installed.
            InputError: There is no such camera, it sends no frame, or an argument is out of range.
        """
        self.path, self.begin, self.time_base = Path(f"camera {number}"), Fraction(0), _TIME_BASE
        # As a multiple of the time base, like the times that it is compared with.
        self._end = math.inf if end is None else round(end / _TIME_BASE) * _TIME_BASE
        self._thinning = Thinning(stride=stride, fps=fps)
        self._cv2 = import_opencv()
        capture = _opened(self._cv2, number)
        rate = capture.get(self._cv2.CAP_PROP_FPS)
        self.rate = self._thinning.rate(Fraction(round(rate) if rate >= 1 else _USUAL_RATE))
        self._newest: queue.Queue[tuple[float, Image] | None] = queue.Queue(maxsize=1)
        self._closed, self._stopped = threading.Event(), False
        threading.Thread(target=self._capture, args=(capture,), name="flow-camera").start()
        self._frames = self._read()
        try:
            first = next(self._frames, None)
        except BaseException:  # Ctrl-C, while the camera starts
            self.close()
            raise
        if first is None:
            self.close()
            raise InputError(
                f"camera {number} sends no frame; expected one within {_PATIENCE} s. Close other "
                "programs that use it, or plug it in again."
            )
        self.height, self.width = first.image.shape[:2]
        self._frames = itertools.chain([first], self._frames)

    def __iter__(self) -> Iterator[Frame]:
        """Return the iterator itself."""
        return self

    def __next__(self) -> Frame:
        """Return the newest frame; wait for it if it was returned already."""
        return next(self._frames)

    def faults(self) -> list[str]:
        """Return whether the camera stopped by itself."""
        return [f"{self.path} sends no more frames."] if self._stopped else []

    def close(self) -> None:
        """Release the camera."""
        self._closed.set()

    def __enter__(self) -> "Camera":
        """Return the camera itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release the camera."""
        self.close()

    def _capture(self, capture: Any) -> None:
        """Keep the newest frame, in a thread; None at the end."""
        intact = True
        while intact and not self._closed.is_set():
            intact, image = capture.read()
            with contextlib.suppress(queue.Empty):
                self._newest.get_nowait()
            self._newest.put((time.monotonic(), image) if intact else None)
        capture.release()

    def _read(self) -> Iterator[Frame]:
        begin = None
        names = (f"{index:06d}" for index in itertools.count())
        while True:
            try:
                newest = self._newest.get(timeout=_PATIENCE)
            except queue.Empty:
                newest = None
            if newest is None:
                self._stopped = True
                return
            moment, image = newest
            begin = begin or moment
            elapsed = round((moment - begin) / _TIME_BASE) * _TIME_BASE
            if elapsed >= self._end:
                return
            if self._thinning.keeps(elapsed):
                yield Frame(
                    next(names), elapsed, self._cv2.cvtColor(image, self._cv2.COLOR_BGR2RGB)
                )


def _opened(cv2: ModuleType, number: int) -> Any:
    logging = cv2.utils.logging
    level = logging.setLogLevel(logging.LOG_LEVEL_SILENT)  # the message below says it
    try:
        capture = cv2.VideoCapture(number)
    finally:
        logging.setLogLevel(level)
    if not capture.isOpened():
        raise InputError(
            f"camera {number} cannot be opened; expected the number of a camera, from 0, that this "
            "user may read and no other program uses. Plug it in, or close the other program."
        )
    return capture
