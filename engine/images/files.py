"""Read and write picture files, by OpenCV."""

import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np

from engine.errors import BackendNotInstalledError, InputError
from engine.images.headers import START_BYTES, check_header, check_start, largest_file
from engine.images.levels import Levels, LevelsChoice, eight_bits, scene_levels
from engine.system.bounded_reading import opened, path_of, read_up_to
from engine.system.files import write_atomically
from engine.types import Array, Image

_EXPECTED = (
    "a picture, e.g. a .png or .jpg. Give the name of such a file; for the flow of a video or of a "
    "folder of pictures use `flow video` or `flow folder`."
)


def read_image(path: str | os.PathLike[str], *, levels: LevelsChoice | None = None) -> Image:
    """Read a picture file as (H, W, 3) uint8 RGB.

    Grey pictures get three equal channels, 16-bit pictures are scaled to 8 bits, alpha is dropped.
    Files whose white level is unknown, e.g. 12-bit data in a 16-bit file, are refused.

    Args:
        path: the file.
        levels: values of the file that become 0 and 255; values beyond are clipped. Give both
            pictures of a pair the same, as `read_images` does. ``"percentile"``: the 1st and 99th
            percentile of the picture's values. None: those of the file's type, 0 and 65535 for 16
            bits.

    Raises:
        BackendNotInstalledError: OpenCV is not installed.
        InputError: The file does not exist, is not a picture, has more pixels than
            ``$FLOWNET_ENGINE_MAX_PIXELS``, or its white level is unknown.
        OSError: The file cannot be read.
    """
    return read_images([path], levels=levels)[0]


def read_images(
    paths: Sequence[str | os.PathLike[str]], *, levels: LevelsChoice | None = None
) -> list[Image]:
    """Read pictures of one scene; see `read_image`. ``"percentile"`` gives all the same levels."""
    return images_from_bytes([_content(path) for path in paths], levels)


def read_scene(paths: Sequence[str | os.PathLike[str]]) -> tuple[list[Image], Levels]:
    """Read pictures with the levels ``"percentile"``; return these too, for further pictures."""
    contents = [_content(path) for path in paths]
    decoded = [_decoded(*content) for content in contents]
    levels = scene_levels(decoded)
    return _rgb(decoded, [name for _, name in contents], levels), levels


def _content(name: str | os.PathLike[str]) -> tuple[bytearray, str]:
    path = path_of(name, _EXPECTED)
    return read_picture(path), str(path)


def read_picture(path: Path) -> bytearray:
    """Return the content of a picture file; errors are those of `read_image`."""
    try:
        with opened(path, _EXPECTED) as stream:
            check_start(stream.read(START_BYTES), str(path))  # before gigabytes of a video are read
            stream.seek(0)
            return read_up_to(stream, largest_file() + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path} does not exist; expected {_EXPECTED}") from None


def image_from_bytes(
    data: bytes | bytearray, name: str, *, levels: LevelsChoice | None = None
) -> Image:
    """Decode the content of a picture file; ``name`` it in errors. See `read_image`."""
    return images_from_bytes([(data, name)], levels)[0]


def images_from_bytes(
    contents: Sequence[tuple[bytes | bytearray, str]], levels: LevelsChoice | None = None
) -> list[Image]:
    """Decode the contents of picture files; see `read_images`.

    Args:
        contents: of each file its content, and its name for error messages.
        levels: see `read_image`.
    """
    decoded = [_decoded(*content) for content in contents]
    return _rgb(decoded, [name for _, name in contents], levels)


def _rgb(
    decoded: Sequence[Array], names: Sequence[str], levels: LevelsChoice | None
) -> list[Image]:
    cv2 = import_opencv()
    to_rgb = {2: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB}
    images = eight_bits(decoded, names, levels)
    return [cv2.cvtColor(image, to_rgb[image.ndim]) for image in images]


def _decoded(data: bytes | bytearray, name: str) -> Array:
    """Return (H, W, 3) BGR or (H, W) grey of the file's type."""
    cv2 = import_opencv()
    check_header(data, name)
    # Not imread, which crashes on a file name that is not UTF-8.
    try:
        # Not as colours, which OpenCV 5.0 does not make of grey floats.
        mode = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
        image: Array | None = cv2.imdecode(np.frombuffer(data, np.uint8), mode)
    except cv2.error as error:
        raise InputError(f"{name} cannot be read as a picture: {error.err}.") from error
    if image is None:
        raise InputError(
            f"{name} is a picture that OpenCV cannot decode: damaged, or of a rare kind. Fetch it "
            "again, or convert it, e.g. to .png."
        )
    return image


def write_image(path: str | os.PathLike[str], image: Image) -> None:
    """Write (H, W, 3) uint8 RGB atomically, in the picture format of the file's suffix.

    Raises:
        BackendNotInstalledError: OpenCV is not installed.
        InputError: The image has another shape or type, or the format cannot hold it.
        OSError: The file cannot be written.
    """
    write_atomically(Path(path), bytes_from_image(image, path), sync=False)


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
