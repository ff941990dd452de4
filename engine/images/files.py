"""Read and write picture files, by OpenCV."""

import os
from pathlib import Path
from types import ModuleType

import numpy as np

from engine.errors import BackendNotInstalledError, InputError
from engine.images.headers import START_BYTES, check_header, check_start, largest_file
from engine.system.files import opened, read_up_to, write_atomically
from engine.types import Array, Image

# The values of a file that become black and white.
Levels = tuple[float, float]

_EXPECTED = (
    "a picture, e.g. a .png or .jpg. Give the name of such a file; for the flow of a video or of a "
    "folder of pictures use `flow video` or `flow folder`."
)
_TWELVE_BITS = 4095
# A thermal camera's scene may have a few of the 256 levels of a 16-bit file, too few for flow.
_FEW_LEVELS = 16


def read_image(path: str | os.PathLike[str], *, levels: Levels | None = None) -> Image:
    """Read a picture file as (H, W, 3) uint8 RGB.

    Grey pictures get three equal channels, 16-bit pictures are scaled to 8 bits, alpha is dropped.
    Files whose white level is unknown, e.g. 12-bit data in a 16-bit file, are refused.

    Args:
        path: the file.
        levels: values of the file that become 0 and 255; values beyond are clipped. Give both
            pictures of a pair the same. None: those of the file's type, 0 and 65535 for 16 bits.

    Raises:
        BackendNotInstalledError: OpenCV is not installed.
        InputError: The file does not exist, is not a picture, or its white level is unknown.
        OSError: The file cannot be read.
    """
    path = Path(path)
    try:
        with opened(path, _EXPECTED) as stream:
            check_start(stream.read(START_BYTES), str(path))  # before gigabytes of a video are read
            stream.seek(0)
            content = read_up_to(stream, largest_file() + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path} does not exist; expected {_EXPECTED}") from None
    # Not imread, which crashes on a file name that is not UTF-8.
    return image_from_bytes(content, str(path), levels=levels)


def image_from_bytes(data: bytes | bytearray, name: str, *, levels: Levels | None = None) -> Image:
    """Decode the content of a picture file; see `read_image`, whose result and errors it has.

    Args:
        data: the content.
        name: of the file, for error messages.
        levels: see `read_image`.
    """
    cv2 = import_opencv()
    check_header(data, name)
    try:
        mode = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
        image = cv2.imdecode(np.frombuffer(data, np.uint8), mode)
    except cv2.error as error:
        raise InputError(f"{name} cannot be read as a picture: {error.err}.") from error
    if image is None:
        raise InputError(
            f"{name} is a picture that OpenCV cannot decode: damaged, or of a rare kind. Fetch it "
            "again, or convert it, e.g. to .png."
        )
    rgb: Image = cv2.cvtColor(_eight_bits(image, name, levels), cv2.COLOR_BGR2RGB)
    return rgb


def _eight_bits(image: Array, name: str, levels: Levels | None) -> Image:
    if levels is None:
        if image.dtype == np.uint8:
            return image
        levels = _known_levels(image, name)
    black, white = levels
    if not black < white:
        raise InputError(f"levels is {levels}; expected the values of black and white, rising.")
    scaled = (image.astype(np.float32) - np.float32(black)) * np.float32(255 / (white - black))
    rounded: Image = np.rint(scaled.clip(0, 255)).astype(np.uint8)
    return rounded


def _known_levels(image: Array, name: str) -> Levels:
    """Return the levels of black and white, as far as a file tells them by itself."""
    low, high = image.min(), image.max()
    if image.dtype == np.uint16 and high > _TWELVE_BITS:  # the file uses all 16 bits
        if (int(high) - int(low)) // 257 >= _FEW_LEVELS:
            return 0, 65535
        guess = f"({low}, {high}) for the range of this scene, or (0, 65535) for all 16 bits"
    elif image.dtype == np.uint16:
        guess = f"(0, {_TWELVE_BITS}) for 12 bits"
    else:
        guess = f"({low:g}, {high:g})"
    raise InputError(
        f"{name} has {image.dtype} values from {low:g} to {high:g}; expected 8 bits, or the whole "
        "range of 16. Give the values of black and white, the same for all pictures: "
        "engine.images.read_image(path, levels=...), or --levels of flow infer and flow folder, "
        f"e.g. {guess}."
    )


def write_image(path: str | os.PathLike[str], image: Image) -> None:
    """Write (H, W, 3) uint8 RGB atomically, in the picture format of the file's suffix.

    Raises:
        BackendNotInstalledError: OpenCV is not installed.
        InputError: The image has another shape or type, or the format cannot hold it.
        OSError: The file cannot be written.
    """
    write_atomically(Path(path), bytes_from_image(image, path))


def bytes_from_image(image: Image, name: str | os.PathLike[str]) -> bytes:
    """Return the content of a picture file, in the format of the suffix of ``name``.

    Arguments and errors are those of `write_image`.
    """
    path = Path(name)
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
    return encoded


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


def import_opencv(purpose: str = "reading and writing pictures") -> ModuleType:
    """Return OpenCV.

    Args:
        purpose: what needs it, for the error message.

    Raises:
        BackendNotInstalledError: It is not installed, or does not load.
    """
    try:
        import cv2
    except ImportError as error:
        raise BackendNotInstalledError(
            f"{purpose} needs OpenCV, which cannot be imported ({error}). "
            "Install it: pip install opencv-python-headless."
        ) from error
    module: ModuleType = cv2
    return module
