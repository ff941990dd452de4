"""Read and write picture files, by OpenCV."""

import os
from pathlib import Path
from types import ModuleType

import numpy as np

from engine.errors import BackendNotInstalledError, InputError
from engine.system.files import write_atomically
from engine.types import Array, Image


def read_image(path: str | os.PathLike[str]) -> Image:
    """Read a picture file as (H, W, 3) uint8 RGB.

    Grey pictures get three equal channels, 16-bit pictures are scaled to 8 bits, alpha is dropped.
    Files whose white level is unknown, e.g. 12-bit data in a 16-bit file, are refused.

    Raises:
        BackendNotInstalledError: OpenCV is not installed.
        InputError: The file does not exist, is not a picture, or its white level is unknown.
        OSError: The file cannot be read.
    """
    cv2 = import_opencv()
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist; expected a picture, e.g. a .png or .jpg.")
    # Not imread, which crashes on a file name that is not UTF-8; imdecode raises on no bytes.
    data = np.frombuffer(path.read_bytes(), np.uint8)
    try:
        mode = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
        image = cv2.imdecode(data, mode) if data.size else None
    except cv2.error as error:
        raise InputError(f"{path} cannot be read as a picture: {error.err}.") from error
    if image is None:
        raise InputError(f"{path} is not a picture OpenCV can read. Convert it to .png.")
    rgb: Image = cv2.cvtColor(_eight_bits(image, path), cv2.COLOR_BGR2RGB)
    return rgb


def _eight_bits(image: Array, path: Path) -> Image:
    if image.dtype == np.uint8:
        return image
    top = image.max()
    if image.dtype == np.uint16 and top >= 4096:  # more than 12 bits: the file uses all 16
        return (image // 257).astype(np.uint8)
    shown = "e.g. (x >> 4) for 12 bits, " if image.dtype == np.uint16 else ""
    raise InputError(
        f"{path} has {image.dtype} levels up to {top}; expected 8 bits, or the whole range of 16. "
        "Read it with cv2.imread(path, cv2.IMREAD_UNCHANGED) and scale it to uint8 by the sensor's "
        f"range, {shown}then pass the array."
    )


def write_image(path: str | os.PathLike[str], image: Image) -> None:
    """Write (H, W, 3) uint8 RGB atomically, in the picture format of the file's suffix.

    Raises:
        BackendNotInstalledError: OpenCV is not installed.
        InputError: The image has another shape or type, or the format cannot hold it.
        OSError: The file cannot be written.
    """
    path = Path(path)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise InputError(
            f"{path}: the image is {image.shape} {image.dtype}; expected (H, W, 3) uint8, RGB."
        )
    encoded = _encoded(path, image)
    if encoded is None:
        check_picture_format(path)
        raise InputError(
            f"{path}: a picture of {image.shape[0]}x{image.shape[1]} cannot be written as "
            f"{path.suffix!r}; expected a smaller one, or another format, e.g. .png."
        )
    write_atomically(path, encoded)


def check_picture_format(path: Path) -> None:
    """Raise the error that ``write_image`` would raise for the suffix of ``path``."""
    # Some formats, e.g. JPEG 2000, hold no very small pictures.
    if _encoded(path, np.zeros((64, 64, 3), np.uint8)) is None:
        raise InputError(
            f"{path}: {path.suffix!r} is not a format for colour pictures; expected e.g. .png."
        )


def _encoded(path: Path, image: Image) -> bytes | None:
    cv2 = import_opencv()
    try:
        written, data = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    except cv2.error:
        return None
    return data.tobytes() if written else None


def import_opencv() -> ModuleType:
    """Return OpenCV.

    Raises:
        BackendNotInstalledError: It is not installed, or does not load.
    """
    try:
        import cv2
    except ImportError as error:
        raise BackendNotInstalledError(
            f"reading and writing pictures needs OpenCV, which cannot be imported ({error}). "
            "Install it: pip install opencv-python-headless."
        ) from error
    module: ModuleType = cv2
    return module
