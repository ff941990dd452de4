"""What to do with objects that are passed for an image and are no array."""

import os
from typing import Any

_READ = "engine.images.read_image(path)"


def describe(image: Any, name: str) -> tuple[str, str]:
    """Return what an object is, and how to get an image from it."""
    if isinstance(image, str | os.PathLike):
        path = f"{os.fspath(image)!r:.60}"
        return f"is a path ({path})", f"Pass two paths to infer_files, or read it first: {_READ}."
    if isinstance(image, bytes | bytearray | memoryview):
        return (
            f"is {len(image)} bytes",
            "Decode the content of a picture file by "
            f"engine.images.image_from_bytes({name}, 'name'); for pixels pass "
            f"numpy.frombuffer({name}, 'uint8').reshape(height, width, 3).",
        )
    kind = type(image).__name__
    if image is None:
        return "is None", "OpenCV returns None for a picture that it cannot read: check the file."
    if isinstance(image, tuple):
        return (
            f"is a tuple of {len(image)}",
            "Pass the item that is the image, e.g. "
            f"{name}[{max(len(image) - 1, 0)}]; VideoCapture.read returns (ok, image).",
        )
    if kind == "VideoCapture":
        return "is a VideoCapture", f"Read a frame: ok, frame = {name}.read()."
    if hasattr(image, "read"):
        return f"is an open file or a reader ({kind})", f"Read it by its name: {_READ}."
    if isinstance(image, list):
        return "is list", "Convert it with numpy.asarray."
    return f"is {kind}", "Pass its pixels."
