"""The pictures of a folder as the frames of a sequence, in natural order."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path

from engine.data.listing import pictures
from engine.errors import InputError
from engine.images import LevelsChoice, read_image, read_scene
from engine.images.levels import PERCENTILE
from engine.types import Image
from engine.video.frame import Frame

DEFAULT_RATE = 25  # pictures per second, which a folder does not tell


class PictureReader:
    """The pictures of a folder, frame2 before frame10, shown at a constant rate; an iterator.

    Attributes:
        path: of the folder.
        height: of the pictures, in pixels.
        width: of the pictures, in pixels.
        begin: time of the first picture, 0.
        rate: number of frames per second.
        time_base: seconds between frames.
        expected_frames: number of pictures.
        live: False.
    """

    live = False

    def __init__(
        self, folder: Path, *, rate: Fraction, stride: int = 1, levels: LevelsChoice | None = None
    ) -> None:
        """List the pictures and read the size of the first.

        Args:
            folder: where they are.
            rate: number of pictures per second.
            stride: N; only every N-th picture is used.
            levels: see `engine.images.read_image`; ``"percentile"``: of the first two pictures, for
                all.

        Raises:
            BackendNotInstalledError: OpenCV is not installed.
            InputError: There is no such folder, it holds fewer than two pictures, or the first
                cannot be read.
            PairsError: There is no picture in it, or two of one name.
        """
        if not folder.is_dir():
            fault, advice = "does not exist", "Check the path."
            if folder.exists():
                fault, advice = (
                    "is not a folder",
                    "For a video use `flow video`, for two pictures `flow infer`.",
                )
            raise InputError(f"{folder} {fault}; expected a folder of pictures. {advice}")
        self.path, self.begin = folder, Fraction(0)
        self.rate, self.time_base = rate / stride, stride / rate
        found = list(pictures(folder).values())
        self._files = found[::stride]
        if len(found) < 2:
            raise InputError(
                f"{found[0]} is the only picture in its folder; expected at least two frames. Add "
                "the next one."
            )
        if len(self._files) < 2:
            raise InputError(
                f"{folder} has {len(found)} pictures and the stride is {stride}; expected at least "
                "two frames. Use a smaller stride."
            )
        self.expected_frames: int | None = len(self._files)
        if levels == PERCENTILE:
            images, levels = read_scene(self._files[:2])
        else:
            images = [read_image(self._files[0], levels=levels)]
        self.height, self.width = images[0].shape[:2]
        rest = (read_image(path, levels=levels) for path in self._files[len(images) :])
        self._frames = self._read(chain(images, rest))

    def __iter__(self) -> Iterator[Frame]:
        """Return the iterator itself."""
        return self

    def __next__(self) -> Frame:
        """Return the next frame.

        Raises:
            InputError: It cannot be read, or its size differs from the first one's.
        """
        return next(self._frames)

    def faults(self) -> list[str]:
        """Return what was left out: nothing, as a picture that cannot be read is an error."""
        return []

    def _read(self, images: Iterable[Image]) -> Iterator[Frame]:
        for index, (path, image) in enumerate(zip(self._files, images, strict=True)):
            if image.shape[:2] != (self.height, self.width):
                raise InputError(
                    f"{path} is {image.shape[0]}x{image.shape[1]}, the frames before are "
                    f"{self.height}x{self.width}; expected one size. Move it to another folder, or "
                    "resize it."
                )
            yield Frame(path.stem, index / self.rate, image)
